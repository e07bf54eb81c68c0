//! Datagrams that the kernel splits and joins.

use super::{ANY, Moved, ONE, RECV, RESOLVER, SEND, check, got, sent};
use sockdbg::compare::Verdict;
use sockdbg::event::Cause;

#[test]
fn what_one_call_moves_may_be_several_datagrams_on_the_wire() {
    check(
        &[(ANY, ONE, &[sent(1100, "", b"0123456789abcdef"), got(1200, "", b"uvwxyz")])],
        &[(
            RESOLVER,
            ONE,
            &[
                sent(1100, "", b"01234567"),
                sent(1100, "", b"89abcdef"),
                got(1199, "", b"uvw"),
                got(1199, "", b"xyz"),
            ],
        )],
        &[],
        Verdict::Complete,
    );
}

#[test]
fn one_datagram_of_the_capture_may_be_several_calls() {
    let whole: &[Moved<'_>] =
        &[got(1090, "", b"x"), got(1100, "", b"aaaabbbbcc"), got(1110, "", b"aaaabbbbcc")];
    let parts = [b"aaaa", &b"bbbb"[..], b"cc"];
    let received: Vec<_> =
        [&b"x"[..]].into_iter().chain(parts).chain(parts).map(|part| got(1100, "", part)).collect();
    check(&[(ANY, ONE, &received)], &[(RESOLVER, ONE, whole)], &[], Verdict::Complete);
    // What is lost between them is missing at the process alone, what the capture cut there alone.
    let lost = |bytes| (1100, RECV, "", &b""[..], Some((bytes, Cause::RingFull)));
    check(
        &[(ANY, ONE, &[got(1100, "", b"aaaa"), lost(4), got(1100, "", b"cc"), got(1101, "", b"zz")])],
        &[(
            RESOLVER,
            ONE,
            &[(1100, RECV, "", b"aaaabb", Some((4, Cause::WireSnaplen))), got(1101, "", b"zz")],
        )],
        &[
            (true, RECV, Cause::WireSnaplen, 6, 8),
            (true, RECV, Cause::WireSnaplen, 8, 10),
            (true, RECV, Cause::RingFull, 4, 8),
        ],
        Verdict::Incomplete,
    );
    // Others that come to the same length are others.
    check(
        &[(ANY, ONE, &[got(1099, "", b"x"), got(1100, "", b"aaaa"), got(1100, "", b"bbbb")])],
        &[(RESOLVER, ONE, &[got(1099, "", b"x"), got(1100, "", b"dddddddd")])],
        &[
            (true, RECV, Cause::WireNotCaptured, 1, 5),
            (true, RECV, Cause::WireNotCaptured, 5, 9),
            (true, RECV, Cause::Unread, 1, 9),
        ],
        Verdict::Incomplete,
    );
}

#[test]
fn what_is_left_of_a_datagram_that_was_begun_is_missing_at_the_process() {
    // A buffer that was too small for one.
    check(
        &[(ANY, ONE, &[got(1100, "", b"0123456789"), got(1101, "", b"x")])],
        &[(RESOLVER, ONE, &[got(1100, "", b"0123456789abcdef"), got(1101, "", b"x")])],
        &[(true, RECV, Cause::DatagramTruncated, 10, 16)],
        Verdict::Incomplete,
    );
    // No room in the socket for the last parts of one that was split.
    let parts = [b"aaaa", b"bbbb", b"cccc"].map(|part| got(1100, "", part));
    check(
        &[(ANY, ONE, &parts)],
        &[(RESOLVER, ONE, &[got(1100, "", b"aaaabbbbccccdddde")])],
        &[(true, RECV, Cause::Unread, 12, 17)],
        Verdict::Incomplete,
    );
    // Of what is sent nothing is left.
    check(
        &[(ANY, ONE, &[sent(1100, "", b"0123456789"), sent(1101, "", b"x")])],
        &[(RESOLVER, ONE, &[sent(1100, "", b"0123456789abcdef"), sent(1101, "", b"x")])],
        &[(true, SEND, Cause::WireNotCaptured, 0, 10), (true, SEND, Cause::UntracedSyscall, 0, 16)],
        Verdict::Incomplete,
    );
}
