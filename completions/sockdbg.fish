# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sockdbg_global_optspecs
    string join \n h/help V/version
end

function __fish_sockdbg_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sockdbg_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sockdbg_using_subcommand
    set -l cmd (__fish_sockdbg_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sockdbg -n "__fish_sockdbg_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -s V -l version -d 'Print version'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "verify" -d 'Compare what eBPF sees of a process with what is on the wire'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "pcap-compare" -d 'Compare a recording with a packet capture'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "conn-trace" -d 'Show the reassembled records of each connection'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "events" -d 'Show or record every network call of a process'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "doctor" -d 'Check what this kernel offers, and what would be missed of a process'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "explain" -d 'Explain why a byte did not become a record'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "demo" -d 'Show what sockdbg does, on a workload of its own'
complete -c sockdbg -n "__fish_sockdbg_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s p -l pid -d 'These processes: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l comm -d 'Trace every process with this name, those that take it later too; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l cgroup -d 'Trace every process in this cgroup and below, those that enter it later too; repeatable' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l container -d 'Trace every process of this container or systemd unit; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l fd -d 'Only these descriptors, as in 3,5; with ! in front, all but these' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l port -d 'Only connections with one of these ports at either end, as in 80,8000-8999' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l local-port -d 'Only connections with one of these ports at the traced process\'s end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l remote-port -d 'Only connections with one of these ports at the other end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l peer -d 'Only connections with this address, or one of this network, at the other end: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l family -d 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4' -r -f -a "ipv4\t''
ipv6\t''
unix\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l syscall -d 'Only bytes that these system calls moved, as in read,sendto' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l direction -d 'Only bytes in this direction' -r -f -a "send\t''
recv\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l pcap -d 'Compare with this capture; it may still be growing' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s i -l interface -d 'Capture on this interface of the process\'s network namespace; any: all of them' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s s -l snaplen -d 'Keep only the first SIZE bytes of each call\'s payload (default: all of it)' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s c -l count -d 'Stop after N events' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l duration -d 'Stop after this time: 10s, 500ms, 2m, 1h' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l ring-size -d 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l hooks -d 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)' -r -f -a "auto\t'Sockets where they tell, else calls'
sockets\t'The sockets\' own word'
calls\t'The exit of system calls'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l html -d 'Write the report as one HTML page that needs nothing else, too' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l bundle -d 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s f -l follow-forks -d 'Trace the children of the traced processes, too, and theirs'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s a -l all -d 'Trace every process but sockdbg'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s q -l quiet -d 'Print no summary and no warning on stderr, only errors'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l full -d 'List every connection and record instead of folding long lists'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -l redact -d 'Show and write no content: lengths and hashes instead'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l html -d 'Write the report as one HTML page that needs nothing else, too' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l bundle -d 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -s q -l quiet -d 'Print no summary and no warning on stderr, only errors'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l full -d 'List every connection and record instead of folding long lists'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -l redact -d 'Show and write no content: lengths and hashes instead'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand pcap-compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s p -l pid -d 'These processes: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l comm -d 'Trace every process with this name, those that take it later too; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l cgroup -d 'Trace every process in this cgroup and below, those that enter it later too; repeatable' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l container -d 'Trace every process of this container or systemd unit; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l fd -d 'Only these descriptors, as in 3,5; with ! in front, all but these' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l port -d 'Only connections with one of these ports at either end, as in 80,8000-8999' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l local-port -d 'Only connections with one of these ports at the traced process\'s end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l remote-port -d 'Only connections with one of these ports at the other end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l peer -d 'Only connections with this address, or one of this network, at the other end: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l family -d 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4' -r -f -a "ipv4\t''
ipv6\t''
unix\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l syscall -d 'Only bytes that these system calls moved, as in read,sendto' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l direction -d 'Only bytes in this direction' -r -f -a "send\t''
recv\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s r -l read -d 'Read a recording (or capture, or strace log) instead of tracing; - is stdin' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s v -l verbose -d 'Tell more: -v or -v 1 state changes, -vv or -v 2 every step' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l max-field -d 'Keep at most SIZE bytes of each body and long value for JSON, -A, -x and -X' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l filter -d 'Show only the records that meet these conditions, as in \'protocol=http1 status>=500\'' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s s -l snaplen -d 'Keep only the first SIZE bytes of each call\'s payload (default: all of it)' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s c -l count -d 'Stop after N events' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l duration -d 'Stop after this time: 10s, 500ms, 2m, 1h' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l ring-size -d 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l hooks -d 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)' -r -f -a "auto\t'Sockets where they tell, else calls'
sockets\t'The sockets\' own word'
calls\t'The exit of system calls'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s f -l follow-forks -d 'Trace the children of the traced processes, too, and theirs'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s a -l all -d 'Trace every process but sockdbg'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l stats -d 'Count records instead of showing them: by endpoint, with failures and percentiles of the latency, at the end'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l all-messages -d 'Show keep-alives, too'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l show-secrets -d 'Show passwords, tokens and cookies instead of masking them'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -l redact -d 'Show and write no content: lengths and hashes instead'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s q -l quiet -d 'Print no summary and no warning on stderr, only errors'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s A -l ascii -d 'Show payload as text below its line, escaped'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s x -l hex -d 'Show payload in hexadecimal below its line'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s X -l hex-ascii -d 'Show payload in hexadecimal and ASCII below its line'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand conn-trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s p -l pid -d 'These processes: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l comm -d 'Trace every process with this name, those that take it later too; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l cgroup -d 'Trace every process in this cgroup and below, those that enter it later too; repeatable' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l container -d 'Trace every process of this container or systemd unit; repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l fd -d 'Only these descriptors, as in 3,5; with ! in front, all but these' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l port -d 'Only connections with one of these ports at either end, as in 80,8000-8999' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l local-port -d 'Only connections with one of these ports at the traced process\'s end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l remote-port -d 'Only connections with one of these ports at the other end' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l peer -d 'Only connections with this address, or one of this network, at the other end: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l family -d 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4' -r -f -a "ipv4\t''
ipv6\t''
unix\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l syscall -d 'Only bytes that these system calls moved, as in read,sendto' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l direction -d 'Only bytes in this direction' -r -f -a "send\t''
recv\t''"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s r -l read -d 'Read a recording (or capture, or strace log) instead of tracing; - is stdin' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s w -l write -d 'Write a recording (pcapng, mode 0600) instead of printing; - is stdout' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s s -l snaplen -d 'Keep only the first SIZE bytes of each call\'s payload (default: all of it)' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s c -l count -d 'Stop after N events' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l duration -d 'Stop after this time: 10s, 500ms, 2m, 1h' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l ring-size -d 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l hooks -d 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)' -r -f -a "auto\t'Sockets where they tell, else calls'
sockets\t'The sockets\' own word'
calls\t'The exit of system calls'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s f -l follow-forks -d 'Trace the children of the traced processes, too, and theirs'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s a -l all -d 'Trace every process but sockdbg'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l print -d 'Print events also while -w writes a recording'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s q -l quiet -d 'Print no summary and no warning on stderr, only errors'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s A -l ascii -d 'Show payload as text below its line, escaped'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s x -l hex -d 'Show payload in hexadecimal below its line'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s X -l hex-ascii -d 'Show payload in hexadecimal and ASCII below its line'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -l redact -d 'Show and write no content: lengths and hashes instead'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -s p -l pid -d 'These processes: a list, repeatable' -r
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -l self-test -d 'Send known bytes through private sockets by each call, and check that each byte arrives'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -l workload -d 'Be the process that the self-test traces'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand explain" -l format -d 'Show as text, or as JSON Lines with stable field names' -r -f -a "text\t'Lines for people'
json\t'JSON Lines'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand explain" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand demo" -l keep -d 'Keep the recording and the capture in this directory' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand demo" -l html -d 'Write the report as one HTML page that needs nothing else, too' -r -F
complete -c sockdbg -n "__fish_sockdbg_using_subcommand demo" -l color -d 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set' -r -f -a "auto\t'Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it'
always\t'Always'
never\t'Never'"
complete -c sockdbg -n "__fish_sockdbg_using_subcommand demo" -l serve -d 'Be the demo\'s server'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "verify" -d 'Compare what eBPF sees of a process with what is on the wire'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "pcap-compare" -d 'Compare a recording with a packet capture'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "conn-trace" -d 'Show the reassembled records of each connection'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "events" -d 'Show or record every network call of a process'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "doctor" -d 'Check what this kernel offers, and what would be missed of a process'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "explain" -d 'Explain why a byte did not become a record'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "demo" -d 'Show what sockdbg does, on a workload of its own'
complete -c sockdbg -n "__fish_sockdbg_using_subcommand help; and not __fish_seen_subcommand_from verify pcap-compare conn-trace events doctor explain completions demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
