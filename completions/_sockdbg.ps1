
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'sockdbg' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'sockdbg'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'sockdbg' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Compare what eBPF sees of a process with what is on the wire')
            [CompletionResult]::new('pcap-compare', 'pcap-compare', [CompletionResultType]::ParameterValue, 'Compare a recording with a packet capture')
            [CompletionResult]::new('conn-trace', 'conn-trace', [CompletionResultType]::ParameterValue, 'Show the reassembled records of each connection')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show or record every network call of a process')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Check what this kernel offers, and what would be missed of a process')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Explain why a byte did not become a record')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('demo', 'demo', [CompletionResultType]::ParameterValue, 'Show what sockdbg does, on a workload of its own')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockdbg;verify' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--pid', '--pid', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--comm', '--comm', [CompletionResultType]::ParameterName, 'Trace every process with this name, those that take it later too; repeatable')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Trace every process in this cgroup and below, those that enter it later too; repeatable')
            [CompletionResult]::new('--container', '--container', [CompletionResultType]::ParameterName, 'Trace every process of this container or systemd unit; repeatable')
            [CompletionResult]::new('--fd', '--fd', [CompletionResultType]::ParameterName, 'Only these descriptors, as in 3,5; with ! in front, all but these')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at either end, as in 80,8000-8999')
            [CompletionResult]::new('--local-port', '--local-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the traced process''s end')
            [CompletionResult]::new('--remote-port', '--remote-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the other end')
            [CompletionResult]::new('--peer', '--peer', [CompletionResultType]::ParameterName, 'Only connections with this address, or one of this network, at the other end: a list, repeatable')
            [CompletionResult]::new('--family', '--family', [CompletionResultType]::ParameterName, 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4')
            [CompletionResult]::new('--syscall', '--syscall', [CompletionResultType]::ParameterName, 'Only bytes that these system calls moved, as in read,sendto')
            [CompletionResult]::new('--direction', '--direction', [CompletionResultType]::ParameterName, 'Only bytes in this direction')
            [CompletionResult]::new('--pcap', '--pcap', [CompletionResultType]::ParameterName, 'Compare with this capture; it may still be growing')
            [CompletionResult]::new('-i', '-i', [CompletionResultType]::ParameterName, 'Capture on this interface of the process''s network namespace; any: all of them')
            [CompletionResult]::new('--interface', '--interface', [CompletionResultType]::ParameterName, 'Capture on this interface of the process''s network namespace; any: all of them')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('--snaplen', '--snaplen', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--count', '--count', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--duration', '--duration', [CompletionResultType]::ParameterName, 'Stop after this time: 10s, 500ms, 2m, 1h')
            [CompletionResult]::new('--ring-size', '--ring-size', [CompletionResultType]::ParameterName, 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two')
            [CompletionResult]::new('--hooks', '--hooks', [CompletionResultType]::ParameterName, 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('--html', '--html', [CompletionResultType]::ParameterName, 'Write the report as one HTML page that needs nothing else, too')
            [CompletionResult]::new('--bundle', '--bundle', [CompletionResultType]::ParameterName, 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('--follow-forks', '--follow-forks', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--full', '--full', [CompletionResultType]::ParameterName, 'List every connection and record instead of folding long lists')
            [CompletionResult]::new('--redact', '--redact', [CompletionResultType]::ParameterName, 'Show and write no content: lengths and hashes instead')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;pcap-compare' {
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('--html', '--html', [CompletionResultType]::ParameterName, 'Write the report as one HTML page that needs nothing else, too')
            [CompletionResult]::new('--bundle', '--bundle', [CompletionResultType]::ParameterName, 'Put everything that somebody needs to look at it elsewhere into this folder, new or empty')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--full', '--full', [CompletionResultType]::ParameterName, 'List every connection and record instead of folding long lists')
            [CompletionResult]::new('--redact', '--redact', [CompletionResultType]::ParameterName, 'Show and write no content: lengths and hashes instead')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;conn-trace' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--pid', '--pid', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--comm', '--comm', [CompletionResultType]::ParameterName, 'Trace every process with this name, those that take it later too; repeatable')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Trace every process in this cgroup and below, those that enter it later too; repeatable')
            [CompletionResult]::new('--container', '--container', [CompletionResultType]::ParameterName, 'Trace every process of this container or systemd unit; repeatable')
            [CompletionResult]::new('--fd', '--fd', [CompletionResultType]::ParameterName, 'Only these descriptors, as in 3,5; with ! in front, all but these')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at either end, as in 80,8000-8999')
            [CompletionResult]::new('--local-port', '--local-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the traced process''s end')
            [CompletionResult]::new('--remote-port', '--remote-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the other end')
            [CompletionResult]::new('--peer', '--peer', [CompletionResultType]::ParameterName, 'Only connections with this address, or one of this network, at the other end: a list, repeatable')
            [CompletionResult]::new('--family', '--family', [CompletionResultType]::ParameterName, 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4')
            [CompletionResult]::new('--syscall', '--syscall', [CompletionResultType]::ParameterName, 'Only bytes that these system calls moved, as in read,sendto')
            [CompletionResult]::new('--direction', '--direction', [CompletionResultType]::ParameterName, 'Only bytes in this direction')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Read a recording (or capture, or strace log) instead of tracing; - is stdin')
            [CompletionResult]::new('--read', '--read', [CompletionResultType]::ParameterName, 'Read a recording (or capture, or strace log) instead of tracing; - is stdin')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Tell more: -v or -v 1 state changes, -vv or -v 2 every step')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Tell more: -v or -v 1 state changes, -vv or -v 2 every step')
            [CompletionResult]::new('--max-field', '--max-field', [CompletionResultType]::ParameterName, 'Keep at most SIZE bytes of each body and long value for JSON, -A, -x and -X')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Show only the records that meet these conditions, as in ''protocol=http1 status>=500''')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('--snaplen', '--snaplen', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--count', '--count', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--duration', '--duration', [CompletionResultType]::ParameterName, 'Stop after this time: 10s, 500ms, 2m, 1h')
            [CompletionResult]::new('--ring-size', '--ring-size', [CompletionResultType]::ParameterName, 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two')
            [CompletionResult]::new('--hooks', '--hooks', [CompletionResultType]::ParameterName, 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('--follow-forks', '--follow-forks', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('--stats', '--stats', [CompletionResultType]::ParameterName, 'Count records instead of showing them: by endpoint, with failures and percentiles of the latency, at the end')
            [CompletionResult]::new('--all-messages', '--all-messages', [CompletionResultType]::ParameterName, 'Show keep-alives, too')
            [CompletionResult]::new('--show-secrets', '--show-secrets', [CompletionResultType]::ParameterName, 'Show passwords, tokens and cookies instead of masking them')
            [CompletionResult]::new('--redact', '--redact', [CompletionResultType]::ParameterName, 'Show and write no content: lengths and hashes instead')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('-A', '-A ', [CompletionResultType]::ParameterName, 'Show payload as text below its line, escaped')
            [CompletionResult]::new('--ascii', '--ascii', [CompletionResultType]::ParameterName, 'Show payload as text below its line, escaped')
            [CompletionResult]::new('-x', '-x', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal below its line')
            [CompletionResult]::new('--hex', '--hex', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal below its line')
            [CompletionResult]::new('-X', '-X ', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal and ASCII below its line')
            [CompletionResult]::new('--hex-ascii', '--hex-ascii', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal and ASCII below its line')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;events' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--pid', '--pid', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--comm', '--comm', [CompletionResultType]::ParameterName, 'Trace every process with this name, those that take it later too; repeatable')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Trace every process in this cgroup and below, those that enter it later too; repeatable')
            [CompletionResult]::new('--container', '--container', [CompletionResultType]::ParameterName, 'Trace every process of this container or systemd unit; repeatable')
            [CompletionResult]::new('--fd', '--fd', [CompletionResultType]::ParameterName, 'Only these descriptors, as in 3,5; with ! in front, all but these')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at either end, as in 80,8000-8999')
            [CompletionResult]::new('--local-port', '--local-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the traced process''s end')
            [CompletionResult]::new('--remote-port', '--remote-port', [CompletionResultType]::ParameterName, 'Only connections with one of these ports at the other end')
            [CompletionResult]::new('--peer', '--peer', [CompletionResultType]::ParameterName, 'Only connections with this address, or one of this network, at the other end: a list, repeatable')
            [CompletionResult]::new('--family', '--family', [CompletionResultType]::ParameterName, 'Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4')
            [CompletionResult]::new('--syscall', '--syscall', [CompletionResultType]::ParameterName, 'Only bytes that these system calls moved, as in read,sendto')
            [CompletionResult]::new('--direction', '--direction', [CompletionResultType]::ParameterName, 'Only bytes in this direction')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Read a recording (or capture, or strace log) instead of tracing; - is stdin')
            [CompletionResult]::new('--read', '--read', [CompletionResultType]::ParameterName, 'Read a recording (or capture, or strace log) instead of tracing; - is stdin')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Write a recording (pcapng, mode 0600) instead of printing; - is stdout')
            [CompletionResult]::new('--write', '--write', [CompletionResultType]::ParameterName, 'Write a recording (pcapng, mode 0600) instead of printing; - is stdout')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('--snaplen', '--snaplen', [CompletionResultType]::ParameterName, 'Keep only the first SIZE bytes of each call''s payload (default: all of it)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--count', '--count', [CompletionResultType]::ParameterName, 'Stop after N events')
            [CompletionResult]::new('--duration', '--duration', [CompletionResultType]::ParameterName, 'Stop after this time: 10s, 500ms, 2m, 1h')
            [CompletionResult]::new('--ring-size', '--ring-size', [CompletionResultType]::ParameterName, 'Size of the ring buffer between kernel and sockdbg, rounded up to a power of two')
            [CompletionResult]::new('--hooks', '--hooks', [CompletionResultType]::ParameterName, 'Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('--follow-forks', '--follow-forks', [CompletionResultType]::ParameterName, 'Trace the children of the traced processes, too, and theirs')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Trace every process but sockdbg')
            [CompletionResult]::new('--print', '--print', [CompletionResultType]::ParameterName, 'Print events also while -w writes a recording')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no summary and no warning on stderr, only errors')
            [CompletionResult]::new('-A', '-A ', [CompletionResultType]::ParameterName, 'Show payload as text below its line, escaped')
            [CompletionResult]::new('--ascii', '--ascii', [CompletionResultType]::ParameterName, 'Show payload as text below its line, escaped')
            [CompletionResult]::new('-x', '-x', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal below its line')
            [CompletionResult]::new('--hex', '--hex', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal below its line')
            [CompletionResult]::new('-X', '-X ', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal and ASCII below its line')
            [CompletionResult]::new('--hex-ascii', '--hex-ascii', [CompletionResultType]::ParameterName, 'Show payload in hexadecimal and ASCII below its line')
            [CompletionResult]::new('--redact', '--redact', [CompletionResultType]::ParameterName, 'Show and write no content: lengths and hashes instead')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;doctor' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--pid', '--pid', [CompletionResultType]::ParameterName, 'These processes: a list, repeatable')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('--self-test', '--self-test', [CompletionResultType]::ParameterName, 'Send known bytes through private sockets by each call, and check that each byte arrives')
            [CompletionResult]::new('--workload', '--workload', [CompletionResultType]::ParameterName, 'Be the process that the self-test traces')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;explain' {
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Show as text, or as JSON Lines with stable field names')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;completions' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;demo' {
            [CompletionResult]::new('--keep', '--keep', [CompletionResultType]::ParameterName, 'Keep the recording and the capture in this directory')
            [CompletionResult]::new('--html', '--html', [CompletionResultType]::ParameterName, 'Write the report as one HTML page that needs nothing else, too')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colour the text: auto means where stdout is a terminal and NO_COLOR is not set')
            [CompletionResult]::new('--serve', '--serve', [CompletionResultType]::ParameterName, 'Be the demo''s server')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sockdbg;help' {
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Compare what eBPF sees of a process with what is on the wire')
            [CompletionResult]::new('pcap-compare', 'pcap-compare', [CompletionResultType]::ParameterValue, 'Compare a recording with a packet capture')
            [CompletionResult]::new('conn-trace', 'conn-trace', [CompletionResultType]::ParameterValue, 'Show the reassembled records of each connection')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show or record every network call of a process')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Check what this kernel offers, and what would be missed of a process')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Explain why a byte did not become a record')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('demo', 'demo', [CompletionResultType]::ParameterValue, 'Show what sockdbg does, on a workload of its own')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockdbg;help;verify' {
            break
        }
        'sockdbg;help;pcap-compare' {
            break
        }
        'sockdbg;help;conn-trace' {
            break
        }
        'sockdbg;help;events' {
            break
        }
        'sockdbg;help;doctor' {
            break
        }
        'sockdbg;help;explain' {
            break
        }
        'sockdbg;help;completions' {
            break
        }
        'sockdbg;help;demo' {
            break
        }
        'sockdbg;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
