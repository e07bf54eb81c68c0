//! The catalogue of causes: what each means, how it is known, what helps. `sockdbg explain` prints it.
//!
//! The match is exhaustive on purpose: a new [`Cause`] does not compile without its entry. Slugs, stages
//! and order come from [`crate::event`].

use crate::event::Cause;

/// What the catalogue says of one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub cause: Cause,
    /// What happened to the bytes.
    pub meaning: &'static str,
    /// How sockdbg knows, without guessing.
    pub detection: &'static str,
    /// What to do about it: the first step, as an instruction.
    pub remedy: &'static str,
    /// A command that does or prepares it, where there is one. Words in capitals are to be replaced.
    pub command: Option<&'static str>,
}

/// Every entry, in pipeline order.
pub fn all() -> impl Iterator<Item = Entry> {
    Cause::ALL.iter().map(|&cause| entry(cause))
}

/// The entry of one cause.
pub fn entry(cause: Cause) -> Entry {
    let Text { meaning, detection, remedy, command } = text(cause);
    Entry { cause, meaning, detection, remedy, command }
}

/// The slugs nearest to a word that is none, best first, at most `most` of them: what the user may have
/// meant.
pub fn nearest(word: &str, most: usize) -> Vec<&'static str> {
    let mut slugs: Vec<_> = Cause::ALL.iter().map(|cause| cause.slug()).collect();
    slugs.sort_by_key(|slug| (!slug.contains(word), edits(word, slug)));
    slugs.truncate(most);
    slugs
}

/// Levenshtein distance in bytes, one row of the table at a time.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The sentences of one entry.
struct Text {
    meaning: &'static str,
    detection: &'static str,
    remedy: &'static str,
    command: Option<&'static str>,
}

fn text(cause: Cause) -> Text {
    match cause {
        // The packet capture.
        Cause::WireNotCaptured => Text {
            meaning: "The packet capture lacks these bytes, although they were on the wire: the process sent or \
                      received them.",
            detection: "The sequence numbers of the capture have a hole, and the socket calls moved exactly the \
                        bytes that are missing in it.",
            remedy: "Capture with a larger buffer and without name lookups, and look at the drop counter that \
                     tcpdump prints at its end; a filter has to let both directions and all fragments pass.",
            command: Some("tcpdump -n -B 65536 -i IFACE -w FILE"),
        },
        Cause::WireSnaplen => Text {
            meaning: "The capture kept only the first part of each packet; these bytes are behind the cut.",
            detection: "The packet's captured length is smaller than its length on the wire.",
            remedy: "Capture whole packets.",
            command: Some("tcpdump -s 0 -i IFACE -w FILE"),
        },
        Cause::WirePayloadLeftOut => Text {
            meaning: "The capture was given as JSON of tshark without the payload of its TCP segments or UDP \
                      datagrams: how many bytes there were is known, not which.",
            detection: "The JSON tells a length, and neither tcp.payload, udp.payload nor another field with all of \
                        its bytes.",
            remedy: "Let tshark write the payload too, or compare with the capture itself.",
            command: Some("tshark -r CAPTURE -T json > FILE"),
        },
        Cause::WireStartedLate => Text {
            meaning: "These bytes had passed before the capture began.",
            detection: "The connection has no SYN in the capture, and the bytes lie before the first sequence \
                        number that its sender shows there.",
            remedy: "Start the capture first and the traffic after it; for connections that live long, make the \
                     client reconnect.",
            command: None,
        },
        Cause::WireEndedEarly => Text {
            meaning: "These bytes moved after the last packet that the capture holds of this connection.",
            detection: "The connection has no FIN or RST in the capture, and the socket calls moved bytes behind \
                        its last sequence number.",
            remedy: "End the capture after the trace, and let tcpdump write packets at once so that none waits \
                     in a buffer.",
            command: Some("tcpdump -U -i IFACE -w FILE"),
        },
        Cause::WireNoVantage => Text {
            meaning: "The bytes do not cross the captured interface: nothing of the connection is in the capture. A \
                      Unix socket crosses none, nor does what the kernel hands from one TCP socket of the machine to \
                      another (BPF sockmap).",
            detection: "Not one packet has the connection's addresses and ports, although bytes moved while the \
                        capture ran; or calls moved bytes on a socket in a sockmap, and its sequence counters stood \
                        still.",
            remedy: "Capture on the interface that the route takes, inside the network namespace of the process; \
                     `any` covers all of them.",
            command: Some("nsenter --net --target PID tcpdump -i any -w FILE"),
        },
        Cause::WireAddressTranslated => Text {
            meaning: "The capture has this connection under other addresses: it was taken on the other side of a \
                      translation (NAT, the virtual address of a service, the mapped port of a container) or of a \
                      proxy that passes bytes on. No byte is missing for it.",
            detection: "No packet has the process's addresses, and a flow with others has the same first sequence \
                        numbers in both directions, or the same bytes in the places that sequence numbers foretell. \
                        Of a proxy all content that can be compared is the same, of no other flow and of no other \
                        connection that lived at the same time. Datagrams are found one by one by their content, where \
                        at least two different ones agree, and more than with any other flow.",
            remedy: "Nothing is wrong. To see the process's own addresses, capture in its network namespace.",
            command: Some("nsenter --net --target PID tcpdump -i any -w FILE"),
        },
        Cause::WireAmbiguous => Text {
            meaning: "The capture has nothing under the connection's addresses, and several flows under others that \
                      carry the same bytes: which of them it is, nothing tells.",
            detection: "Sequence numbers agree with none of the flows, content with more than one of those that lived \
                        at the same time, or with one that may as well be another connection. Of datagrams, all that \
                        agrees comes again elsewhere, or is too little to tell.",
            remedy: "Capture where the process's own addresses are on the wire: in its network namespace.",
            command: Some("nsenter --net --target PID tcpdump -i any -w FILE"),
        },
        Cause::WireOverlapDiffers => Text {
            meaning: "These bytes are in the capture twice, and not alike: a retransmission brought others. Somebody \
                      injected packets, a middlebox rewrote them, or the sender resent from a buffer that had changed.",
            detection: "A segment has bytes for sequence numbers that came before, and they differ. The first to \
                        arrive stand; which of the two the receiver took, the capture does not tell.",
            remedy: "Look at both packets: other TTL, IP identification or link address than the connection's show who \
                     sent them.",
            command: Some(
                "tshark -r CAPTURE -Y tcp.analysis.retransmission -T fields -e frame.number -e ip.ttl -e ip.id",
            ),
        },
        Cause::WireContentDiffers => Text {
            meaning: "Both vantages have these bytes, and they are not the same. Between the process and the capture \
                      somebody rewrote them (a middlebox, a proxy, a load balancer), or the process changed a buffer \
                      while it was being sent.",
            detection: "The bytes at both vantages are compared, at the same offsets of the same connection.",
            remedy: "Look at the bytes of both; the HTML report shows those of the capture.",
            command: Some("sockdbg events -r RECORDING -x"),
        },
        Cause::WireUnsent => Text {
            meaning: "The process wrote these bytes, and the kernel never put them on the wire before the \
                      connection ended.",
            detection: "The socket's send queue still held them at the end (write_seq of the socket against the \
                        last sequence number sent or acknowledged).",
            remedy: "Look at the peer: it stopped reading or reset the connection. Shut the sending direction \
                     down and wait for the peer before close.",
            command: Some("ss -tinp"),
        },
        Cause::WireNotCompared => Text {
            meaning: "The capture may have these datagrams; sockdbg does not say whether they were on the wire.",
            detection: "The capture is JSON of tshark, of which only TCP is read, or one side has more datagrams than \
                        are remembered.",
            remedy: "Compare with the capture itself (pcap or pcapng), or with a part of it.",
            command: Some("editcap -A START -B STOP CAPTURE PART"),
        },
        Cause::StraceNoAddress => Text {
            meaning: "The strace log has too little of this connection's addresses and content: nothing tells which \
                      connection of the other file it is, so its bytes are not compared. Those of the other file \
                      that may be it have this cause, too.",
            detection: "The log shows socket addresses and buffers as pointers (-e raw=, -e verbose=), or leaves them \
                        out, and has no 16 bytes of content in a row that the other file could be searched for; or \
                        the one address that it shows is that of several connections.",
            remedy: "Run strace with -yy, which puts the addresses beside each descriptor, and without -e raw= and \
                     -e verbose=.",
            command: Some(
                "strace -f -ttt -yy -xx -s 1000000 -e trace=%network,%desc,%process -o FILE -p PID",
            ),
        },
        Cause::WireEncrypted => Text {
            meaning: "The capture and the process agree on these bytes, and they are TLS: what was compared is \
                      ciphertext. Nothing is missing of it; what it means was not seen anywhere.",
            detection: "The connection speaks TLS, and both vantages have the bytes.",
            remedy: "For the plaintext, let the process write its keys (SSLKEYLOGFILE, where its TLS library or program \
                     has such a setting) and have tshark decrypt the capture with them; or end TLS at a proxy in front \
                     of the process, and trace the connection behind it.",
            command: Some("tshark -r FILE -o tls.keylog_file:KEYS"),
        },
        // The socket calls of the process.
        Cause::BeforeAttach => Text {
            meaning: "These bytes moved before sockdbg's probes were in place.",
            detection: "The socket was open already when tracing began, and the sequence number of its first \
                        traced byte lies behind that of its first byte.",
            remedy: "Start the process under sockdbg, or make its clients reconnect while sockdbg runs.",
            command: Some("sockdbg events -w FILE -- CMD ARGS"),
        },
        Cause::AfterDetach => Text {
            meaning: "These bytes moved after sockdbg had removed its probes.",
            detection: "The capture goes on behind the last offset of the trace, with times after its end.",
            remedy: "Trace longer: end the capture first, then sockdbg.",
            command: None,
        },
        Cause::UntracedSyscall => Text {
            meaning: "These bytes moved through a path that sockdbg does not trace: a call of another kind, one of a \
                      32-bit program, or recvmmsg with a time limit; of a strace log, a call that its -e trace= leaves \
                      out.",
            detection: "The socket told of bytes that no traced call moved, or its sequence counters jumped between \
                        two traced calls by more than those moved. Of a strace log: the other vantage has the bytes, and \
                        no call of the log.",
            remedy: "Find out which call it is; strace shows them all where no -e trace= says otherwise.",
            command: Some("strace -f -y -p PID"),
        },
        Cause::IoUring => Text {
            meaning: "These bytes moved through io_uring, where no hook of this kernel has their payload: no call \
                      names their buffers. Functions that can be hooked (fentry) have all but what goes through \
                      registered buffers; without, a tracepoint has what is sent by TCP (Linux 6.16).",
            detection: "The socket (from Linux 6.3 on) or the function of its protocol told of them within io_uring's own \
                        work; where neither can be hooked, its sequence counters jumped, and the process uses io_uring.",
            remedy: "sockdbg doctor tells which hooks the kernel grants. Else switch io_uring off while you look: \
                     many servers have an option, and the kernel has one for all (sysctl \
                     kernel.io_uring_disabled=2, from Linux 6.6 on).",
            command: Some("sysctl kernel.io_uring_disabled=2"),
        },
        Cause::InKernelTransfer => Text {
            meaning: "These bytes went from one descriptor to another inside the kernel (sendfile, splice, BPF \
                      sockmap), were made there (kernel TLS) or thrown away there (recv with MSG_TRUNC): their payload \
                      never was in the memory of the process.",
            detection: "The call that moved them was seen, and its result is their number; of a socket that the \
                        kernel itself uses, its sequence counters moved without a call.",
            remedy: "Switch the path off while you look (nginx: `sendfile off;`), or look at the wire.",
            command: Some("strace -f -y -e trace=sendfile,splice -p PID"),
        },
        Cause::OtherProcess => Text {
            meaning: "Another process, which is not traced, has the same socket open and moved these bytes.",
            detection: "The socket told of bytes that a process outside the trace moved on a connection inside it.",
            remedy: "Trace that process too: the event names it.",
            command: Some("sockdbg events -p PID,OTHER"),
        },
        Cause::NotThisProcess => Text {
            meaning: "The connection is in the capture and belongs to no socket of the traced process.",
            detection: "No traced socket has its addresses and ports, in either order, during the time of the \
                        trace.",
            remedy: "Trace the owner of the port, or restrict the capture to the ports of your process.",
            command: Some("ss -tnp 'sport = :PORT or dport = :PORT'"),
        },
        Cause::Unread => Text {
            meaning: "These bytes arrived in the kernel; the application never read them. Of UDP the kernel may have \
                      dropped them because the socket's buffer was full; where no packet shows that they arrived, \
                      as between two recordings, they may have been lost on the way.",
            detection: "The socket's receive queue still held them when it was closed or the trace ended \
                        (rcv_nxt against copied_seq); a datagram to the socket is in the capture, and no call read it.",
            remedy: "Look at the application: it closed early or is stuck before its read. Recv-Q shows sockets \
                     that are stuck now, and d in the skmem field of UDP how many datagrams were dropped.",
            command: Some("ss -tnp"),
        },
        Cause::DatagramTruncated => Text {
            meaning: "The datagram was longer than the buffers that the process gave for it; the kernel threw the \
                      rest away.",
            detection: "The process asked for the datagram's true length (MSG_TRUNC), and it is larger than the \
                        buffers. Of calls that do not ask, only what fitted is known, and what a capture has \
                        beyond that.",
            remedy: "Look at the application: receive with a buffer that holds the largest datagram.",
            command: None,
        },
        // Copying payload in the kernel.
        Cause::Filtered => Text {
            meaning: "A filter that you gave leaves these bytes out.",
            detection: "The kernel program counts the bytes of the connections and calls that the filter leaves \
                        out.",
            remedy: "Widen the filter (--fd, --port, --peer, --family, --syscall, --direction), or leave it out; \
                     lsof shows descriptors and addresses.",
            command: Some("lsof -a -i -p PID"),
        },
        Cause::Snaplen => Text {
            meaning: "--snaplen keeps only the first bytes of each call; these are behind the cut.",
            detection: "The call moved more bytes than its event carries, and the snap length is what stopped \
                        the copy.",
            remedy: "Leave -s/--snaplen out: without it every byte is kept.",
            command: None,
        },
        Cause::IovecLimit => Text {
            meaning: "The call used more buffers (iovec entries or messages) than one event can carry.",
            detection: "The kernel program counts the buffers it walked, and the call moved more bytes than they \
                        hold.",
            remedy: "Nothing is wrong in your setup. Please report the call and its number of buffers; strace \
                     shows both.",
            command: Some("strace -f -e trace=readv,writev,sendmsg,recvmsg -p PID"),
        },
        Cause::UserMemoryFault => Text {
            meaning: "The kernel program could not read the buffer of the call at that moment: its page was not \
                      in memory, or was unmapped meanwhile.",
            detection: "The copy from user memory returned an error.",
            remedy: "Repeat the run. If it stays, lock the memory of the process or look for buffers in mapped \
                     files.",
            command: None,
        },
        Cause::TableFull => Text {
            meaning: "A table of the kernel program (connections or tasks) had no room for this one.",
            detection: "The kernel program counts each insertion that failed.",
            remedy: "Trace fewer processes at once, or only the descriptors that matter with --fd.",
            command: None,
        },
        Cause::StraceStringLimit => Text {
            meaning: "strace shows only the first bytes of each string (-s, 32 where it is not given), and as many \
                      elements of a list; these bytes are behind the cut.",
            detection: "The log marks the string or list as cut, and the call's result is larger than what is shown.",
            remedy: "Run strace with a string limit above the largest call.",
            command: Some(
                "strace -f -ttt -yy -xx -s 1000000 -e trace=%network,%desc,%process -o FILE -p PID",
            ),
        },
        Cause::StraceNoPayload => Text {
            meaning: "The log has the address of the buffer where its bytes should be.",
            detection: "The argument of the call is a number, and the call moved bytes.",
            remedy: "Run strace without -e raw= and -e verbose=, which replace payload by addresses.",
            command: Some(
                "strace -f -ttt -yy -xx -s 1000000 -e trace=%network,%desc,%process -o FILE -p PID",
            ),
        },
        // Bringing it to sockdbg, and keeping it.
        Cause::RingFull => Text {
            meaning: "The ring buffer between kernel and sockdbg was full: these bytes moved, their payload was \
                      not delivered.",
            detection: "The kernel program counts, per connection, what each refused event would have carried; \
                        the next event that fits brings the range.",
            remedy: "Use a larger ring buffer, record with -w instead of printing, or keep less of each call \
                     with --snaplen.",
            command: Some("sockdbg events --ring-size 256M -w FILE -p PID"),
        },
        Cause::RecordingCut => Text {
            meaning: "The recording ends in the middle: what came after that point is not in it.",
            detection: "The last block of the file is incomplete, or the recording lacks the totals that it ends \
                        with.",
            remedy: "Record again, with room on the disk, and end sockdbg with Ctrl-C or SIGTERM, not with \
                     SIGKILL.",
            command: Some("df -h ."),
        },
        // Reassembly.
        Cause::BufferLimit => Text {
            meaning: "One message, or what waited behind a gap, grew larger than the reassembly keeps in memory.",
            detection: "The bound of the reassembly was hit; what it dropped is counted.",
            remedy: "Look at the message in the raw events; if such sizes are normal for you, please report the \
                     protocol and the size.",
            command: Some("sockdbg events -X -r FILE"),
        },
        // Cutting frames from the stream.
        Cause::ProtocolUnknown => Text {
            meaning: "No protocol was recognised on this connection, so its bytes were not cut into frames.",
            detection: "Every detector answered no, or could not decide within the bytes it is given. conn-trace \
                        -v 1 shows each one's reason.",
            remedy: "Look at the first bytes. Protocols outside the table end here; a connection found already \
                     open is recognised at its next message.",
            command: Some("sockdbg conn-trace -v 1 -r FILE"),
        },
        Cause::ParseError => Text {
            meaning: "These bytes do not follow the protocol that the connection speaks.",
            detection: "The parser names the offset and the rule that is broken; conn-trace -v 1 shows both.",
            remedy: "Look at the bytes: a broken peer, a wrongly recognised protocol, or a fault of sockdbg that \
                     is worth a report.",
            command: Some("sockdbg conn-trace -v 1 -r FILE"),
        },
        Cause::ResyncSkipped => Text {
            meaning: "After a gap or an error the parser passed over these bytes while it looked for the next \
                      message.",
            detection: "The parser lost the message boundary at a known offset and found the next one at \
                        another; these bytes lie between.",
            remedy: "Find what came before: a gap on this connection has a cause and a remedy of its own.",
            command: Some("sockdbg conn-trace -v 1 -r FILE"),
        },
        Cause::Unsupported => Text {
            meaning: "The protocol was recognised, and uses a feature that sockdbg does not decode: a \
                      compression, a version, an upgrade to another protocol.",
            detection: "The parser names the feature where it meets it.",
            remedy: "Switch the feature off while you look, or read the bytes from the recording with another \
                     tool.",
            command: Some("tshark -r FILE"),
        },
        Cause::Incomplete => Text {
            meaning: "The message had begun when the stream or the trace ended; the rest of it never came.",
            detection: "The frame's length, or its end mark, lies behind the last byte of the direction.",
            remedy: "If the trace ended first, trace longer; if the connection ended, look at which side closed \
                     it.",
            command: None,
        },
        Cause::Redacted => Text {
            meaning: "The file was made with --redact: these bytes moved, and zeros stand in their place. They are \
                      compared by length and place, and can't be cut into frames.",
            detection: "The file says so in its first block.",
            remedy: "Nothing is wrong: report.json, made from the bytes themselves, tells of frames and records. \
                     Where they are needed, ask for files made without --redact.",
            command: None,
        },
        // Pairing requests with responses.
        Cause::NoResponse => Text {
            meaning: "The request is whole; its response never came into view.",
            detection: "The request still waited when the connection or the trace ended, or a gap covers the \
                        place of its response.",
            remedy: "If a gap is named beside it, follow that one's remedy. If not, the server did not answer: \
                     look there.",
            command: Some("sockdbg conn-trace -v 1 -r FILE"),
        },
        Cause::NoRequest => Text {
            meaning: "The response is whole; its request never came into view.",
            detection: "No request waited when the response came: it was sent before the trace began, or a gap \
                        covers its place.",
            remedy: "Attach before the traffic starts. If a gap is named beside it, follow that one's remedy.",
            command: Some("sockdbg events -w FILE -- CMD ARGS"),
        },
        Cause::Limit => Text {
            meaning: "More requests waited for their response than sockdbg keeps per connection.",
            detection: "The bound was hit, and the oldest request gave way.",
            remedy: "Look at why so many requests wait. If that is normal for you, please report the protocol \
                     and the number.",
            command: Some("sockdbg conn-trace -v 1 -r FILE"),
        },
        // Showing records.
        Cause::FieldTruncated => Text {
            meaning: "A field is shown shorter than it was captured.",
            detection: "The field is longer than --max-field allows; its full length is given with it.",
            remedy: "Give a larger --max-field.",
            command: Some("sockdbg conn-trace --max-field 1M -r FILE"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_sentences_of_its_own() {
        let mut meanings: Vec<_> = all().map(|entry| entry.meaning).collect();
        meanings.sort();
        meanings.dedup();
        assert_eq!(meanings.len(), Cause::ALL.len(), "two causes have the same meaning");
        for entry in all() {
            for text in [entry.meaning, entry.detection, entry.remedy] {
                assert!(text.ends_with(['.', ';', '`']) && text.len() > 15, "{}: {text}", entry.cause.slug());
            }
        }
    }

    #[test]
    fn causes_are_listed_in_pipeline_order() {
        let stages: Vec<_> = all().map(|entry| entry.cause.stage()).collect();
        assert!(stages.is_sorted(), "{stages:?}");
    }

    #[test]
    fn a_misspelt_slug_leads_to_the_right_one() {
        assert_eq!(nearest("ringfull", 1), ["ring-full"]);
        assert_eq!(nearest("sanplen", 1), ["snaplen"]);
        assert!(nearest("snaplen", 2).contains(&"wire-snaplen"));
        assert_eq!(nearest("", 3).len(), 3);
    }

    #[test]
    fn edits_are_those_of_the_textbook() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }
}
