
use builtin;
use str;

set edit:completion:arg-completer[sockdbg] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'sockdbg'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'sockdbg'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand verify 'Compare what eBPF sees of a process with what is on the wire'
            cand pcap-compare 'Compare a recording with a packet capture'
            cand conn-trace 'Show the reassembled records of each connection'
            cand events 'Show or record every network call of a process'
            cand doctor 'Check what this kernel offers, and what would be missed of a process'
            cand explain 'Explain why a byte did not become a record'
            cand completions 'Print the completion script of a shell'
            cand demo 'Show what sockdbg does, on a workload of its own'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockdbg;verify'= {
            cand -p 'These processes: a list, repeatable'
            cand --pid 'These processes: a list, repeatable'
            cand --comm 'Trace every process with this name, those that take it later too; repeatable'
            cand --cgroup 'Trace every process in this cgroup and below, those that enter it later too; repeatable'
            cand --container 'Trace every process of this container or systemd unit; repeatable'
            cand --fd 'Only these descriptors, as in 3,5; with ! in front, all but these'
            cand --port 'Only connections with one of these ports at either end, as in 80,8000-8999'
            cand --local-port 'Only connections with one of these ports at the traced process''s end'
            cand --remote-port 'Only connections with one of these ports at the other end'
            cand --peer 'Only connections with this address, or one of this network, at the other end: a list, repeatable'
            cand --family 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4'
            cand --syscall 'Only bytes that these system calls moved, as in read,sendto'
            cand --direction 'Only bytes in this direction'
            cand --pcap 'Compare with this capture; it may still be growing'
            cand -i 'Capture on this interface of the process''s network namespace; any: all of them'
            cand --interface 'Capture on this interface of the process''s network namespace; any: all of them'
            cand -s 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand --snaplen 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand -c 'Stop after N events'
            cand --count 'Stop after N events'
            cand --duration 'Stop after this time: 10s, 500ms, 2m, 1h'
            cand --ring-size 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two'
            cand --hooks 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)'
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand --html 'Write the report as one HTML page that needs nothing else, too'
            cand --bundle 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty'
            cand -f 'Trace the children of the traced processes, too, and theirs'
            cand --follow-forks 'Trace the children of the traced processes, too, and theirs'
            cand -a 'Trace every process but sockdbg'
            cand --all 'Trace every process but sockdbg'
            cand -q 'Print no summary and no warning on stderr, only errors'
            cand --quiet 'Print no summary and no warning on stderr, only errors'
            cand --full 'List every connection and record instead of folding long lists'
            cand --redact 'Show and write no content: lengths and hashes instead'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;pcap-compare'= {
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand --html 'Write the report as one HTML page that needs nothing else, too'
            cand --bundle 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty'
            cand -q 'Print no summary and no warning on stderr, only errors'
            cand --quiet 'Print no summary and no warning on stderr, only errors'
            cand --full 'List every connection and record instead of folding long lists'
            cand --redact 'Show and write no content: lengths and hashes instead'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;conn-trace'= {
            cand -p 'These processes: a list, repeatable'
            cand --pid 'These processes: a list, repeatable'
            cand --comm 'Trace every process with this name, those that take it later too; repeatable'
            cand --cgroup 'Trace every process in this cgroup and below, those that enter it later too; repeatable'
            cand --container 'Trace every process of this container or systemd unit; repeatable'
            cand --fd 'Only these descriptors, as in 3,5; with ! in front, all but these'
            cand --port 'Only connections with one of these ports at either end, as in 80,8000-8999'
            cand --local-port 'Only connections with one of these ports at the traced process''s end'
            cand --remote-port 'Only connections with one of these ports at the other end'
            cand --peer 'Only connections with this address, or one of this network, at the other end: a list, repeatable'
            cand --family 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4'
            cand --syscall 'Only bytes that these system calls moved, as in read,sendto'
            cand --direction 'Only bytes in this direction'
            cand -r 'Read a recording (or capture, or strace log) instead of tracing; - is stdin'
            cand --read 'Read a recording (or capture, or strace log) instead of tracing; - is stdin'
            cand -v 'Tell more: -v or -v 1 state changes, -vv or -v 2 every step'
            cand --verbose 'Tell more: -v or -v 1 state changes, -vv or -v 2 every step'
            cand --max-field 'Keep at most SIZE bytes of each body and long value for JSON, -A, -x and -X'
            cand --filter 'Show only the records that meet these conditions, as in ''protocol=http1 status>=500'''
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand -s 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand --snaplen 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand -c 'Stop after N events'
            cand --count 'Stop after N events'
            cand --duration 'Stop after this time: 10s, 500ms, 2m, 1h'
            cand --ring-size 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two'
            cand --hooks 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)'
            cand -f 'Trace the children of the traced processes, too, and theirs'
            cand --follow-forks 'Trace the children of the traced processes, too, and theirs'
            cand -a 'Trace every process but sockdbg'
            cand --all 'Trace every process but sockdbg'
            cand --stats 'Count records instead of showing them: by endpoint, with failures and percentiles of the latency, at the end'
            cand --all-messages 'Show keep-alives, too'
            cand --show-secrets 'Show passwords, tokens and cookies instead of masking them'
            cand --redact 'Show and write no content: lengths and hashes instead'
            cand -q 'Print no summary and no warning on stderr, only errors'
            cand --quiet 'Print no summary and no warning on stderr, only errors'
            cand -A 'Show payload as text below its line, escaped'
            cand --ascii 'Show payload as text below its line, escaped'
            cand -x 'Show payload in hexadecimal below its line'
            cand --hex 'Show payload in hexadecimal below its line'
            cand -X 'Show payload in hexadecimal and ASCII below its line'
            cand --hex-ascii 'Show payload in hexadecimal and ASCII below its line'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;events'= {
            cand -p 'These processes: a list, repeatable'
            cand --pid 'These processes: a list, repeatable'
            cand --comm 'Trace every process with this name, those that take it later too; repeatable'
            cand --cgroup 'Trace every process in this cgroup and below, those that enter it later too; repeatable'
            cand --container 'Trace every process of this container or systemd unit; repeatable'
            cand --fd 'Only these descriptors, as in 3,5; with ! in front, all but these'
            cand --port 'Only connections with one of these ports at either end, as in 80,8000-8999'
            cand --local-port 'Only connections with one of these ports at the traced process''s end'
            cand --remote-port 'Only connections with one of these ports at the other end'
            cand --peer 'Only connections with this address, or one of this network, at the other end: a list, repeatable'
            cand --family 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4'
            cand --syscall 'Only bytes that these system calls moved, as in read,sendto'
            cand --direction 'Only bytes in this direction'
            cand -r 'Read a recording (or capture, or strace log) instead of tracing; - is stdin'
            cand --read 'Read a recording (or capture, or strace log) instead of tracing; - is stdin'
            cand -w 'Write a recording (pcapng, mode 0600) instead of printing; - is stdout'
            cand --write 'Write a recording (pcapng, mode 0600) instead of printing; - is stdout'
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand -s 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand --snaplen 'Keep only the first SIZE bytes of each call''s payload (default: all of it)'
            cand -c 'Stop after N events'
            cand --count 'Stop after N events'
            cand --duration 'Stop after this time: 10s, 500ms, 2m, 1h'
            cand --ring-size 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two'
            cand --hooks 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)'
            cand -f 'Trace the children of the traced processes, too, and theirs'
            cand --follow-forks 'Trace the children of the traced processes, too, and theirs'
            cand -a 'Trace every process but sockdbg'
            cand --all 'Trace every process but sockdbg'
            cand --print 'Print events also while -w writes a recording'
            cand -q 'Print no summary and no warning on stderr, only errors'
            cand --quiet 'Print no summary and no warning on stderr, only errors'
            cand -A 'Show payload as text below its line, escaped'
            cand --ascii 'Show payload as text below its line, escaped'
            cand -x 'Show payload in hexadecimal below its line'
            cand --hex 'Show payload in hexadecimal below its line'
            cand -X 'Show payload in hexadecimal and ASCII below its line'
            cand --hex-ascii 'Show payload in hexadecimal and ASCII below its line'
            cand --redact 'Show and write no content: lengths and hashes instead'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;doctor'= {
            cand -p 'These processes: a list, repeatable'
            cand --pid 'These processes: a list, repeatable'
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand --self-test 'Send known bytes through private sockets by each call, and check that each byte arrives'
            cand --workload 'Be the process that the self-test traces'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;explain'= {
            cand --format 'Show as text, or as JSON Lines with stable field names'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;completions'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;demo'= {
            cand --keep 'Keep the recording and the capture in this directory'
            cand --html 'Write the report as one HTML page that needs nothing else, too'
            cand --color 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set'
            cand --serve 'Be the demo''s server'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'sockdbg;help'= {
            cand verify 'Compare what eBPF sees of a process with what is on the wire'
            cand pcap-compare 'Compare a recording with a packet capture'
            cand conn-trace 'Show the reassembled records of each connection'
            cand events 'Show or record every network call of a process'
            cand doctor 'Check what this kernel offers, and what would be missed of a process'
            cand explain 'Explain why a byte did not become a record'
            cand completions 'Print the completion script of a shell'
            cand demo 'Show what sockdbg does, on a workload of its own'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockdbg;help;verify'= {
        }
        &'sockdbg;help;pcap-compare'= {
        }
        &'sockdbg;help;conn-trace'= {
        }
        &'sockdbg;help;events'= {
        }
        &'sockdbg;help;doctor'= {
        }
        &'sockdbg;help;explain'= {
        }
        &'sockdbg;help;completions'= {
        }
        &'sockdbg;help;demo'= {
        }
        &'sockdbg;help;help'= {
        }
    ]
    $completions[$command]
}
