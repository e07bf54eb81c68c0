//! Each command with its answers, as doc/protocol.txt has them.

use super::super::PROTOCOL;
use super::{check, setup};
use crate::event::{Cause, Direction};
use crate::protocol::testing::{
    Outcome, Setup, Step, bytes, field, recv, run, run_counted, run_in_cuts, send, word,
};
use crate::protocol::{MASK, Options};
use crate::record::{Record, Value};

fn map(pairs: &[(&'static str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(name, value)| (word(name), value.clone())).collect())
}

fn number(value: i64) -> Value {
    Value::Number(value)
}

#[track_caller]
fn check_field(record: &Record, name: &str, value: &Value) {
    assert_eq!(field(record, name), Some(value), "{name} of {record:?}");
}

#[test]
fn what_is_stored_and_how_it_is_answered() {
    let steps = [
        send("set greeting 5 3600 5\r\nhello\r\n"),
        recv("STORED\r\n"),
        send("add greeting 0 0 2\r\n\r\n\r\n"),
        recv("NOT_STORED\r\n"),
        send("replace a 0 0 0\r\n\r\nappend a 0 0 1\r\nx\r\nprepend a 0 0 1\r\ny\r\n"),
        recv("STORED\r\nSTORED\r\nNOT_STORED\r\n"),
        send("cas a 0 -1 1 18446744073709551615\r\nz\r\n"),
        recv("EXISTS\r\n"),
        send("cas b 0 0 1 7\r\nz\r\n"),
        recv("NOT_FOUND\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "set greeting 5 bytes -> STORED",
            "add greeting 2 bytes -> NOT_STORED",
            "replace a 0 bytes -> STORED",
            "append a 1 bytes -> STORED",
            "prepend a 1 bytes -> NOT_STORED",
            "cas a 1 bytes -> EXISTS",
            "cas b 1 bytes -> NOT_FOUND",
        ],
    );
    let first = &outcome.records[0];
    check_field(first, "command", &bytes("set"));
    check_field(first, "key", &bytes("greeting"));
    check_field(first, "flags", &number(5));
    check_field(first, "exptime", &number(3600));
    check_field(first, "bytes", &number(5));
    check_field(first, "data", &bytes("hello"));
    check_field(first, "status", &bytes("STORED"));
    check_field(&outcome.records[1], "data", &bytes("\r\n"));
    check_field(&outcome.records[5], "cas_unique", &Value::Text("18446744073709551615".into()));
    check_field(&outcome.records[5], "exptime", &number(-1));
    check_field(&outcome.records[6], "cas_unique", &number(7));
}

#[test]
fn what_is_fetched_by_key_and_what_is_missing() {
    let steps = [
        send("get a\r\n"),
        recv("VALUE a 0 3\r\nEND\r\nEND\r\n"),
        send("get a\r\n"),
        recv("END\r\n"),
        send("gets a b c d\r\n"),
        recv("VALUE b 1 2 10\r\nb\n\r\nVALUE d 2 5 18446744073709551615\r\nVALUE\r\nEND\r\n"),
        send("gat 100 a\r\ngats 100 a b\r\n"),
        recv("VALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1 5\r\nx\r\nVALUE b 0 0 6\r\n\r\nEND\r\n"),
    ];
    // A data block that holds `END` ends where its length says.
    let steps = [&[send("get a\r\n"), recv("VALUE a 0 5\r\nEND\r\n\r\nEND\r\n")][..], &steps[2..]].concat();
    let outcome = check(
        &steps,
        &[
            "get a -> hit, 5 bytes",
            "get a -> miss",
            "gets a b c d -> 2 hits, 2 misses, 7 bytes",
            "gat 100 a -> hit, 1 bytes",
            "gats 100 a b -> 2 hits, 0 misses, 1 bytes",
        ],
    );
    let values = Value::List(vec![map(&[
        ("key", bytes("a")),
        ("flags", number(0)),
        ("bytes", number(5)),
        ("data", bytes("END\r\n")),
    ])]);
    check_field(&outcome.records[0], "values", &values);
    check_field(&outcome.records[0], "hits", &number(1));
    assert_eq!(field(&outcome.records[0], "misses"), None);
    check_field(&outcome.records[1], "misses", &Value::List(vec![bytes("a")]));
    let gets = &outcome.records[2];
    check_field(gets, "keys", &Value::List(["a", "b", "c", "d"].map(bytes).to_vec()));
    check_field(gets, "misses", &Value::List(vec![bytes("a"), bytes("c")]));
    let Some(Value::List(values)) = field(gets, "values") else { panic!("values") };
    let second = [
        ("key", bytes("d")),
        ("flags", number(2)),
        ("bytes", number(5)),
        ("cas_unique", Value::Text("18446744073709551615".into())),
        ("data", bytes("VALUE")),
    ];
    assert_eq!(values[1], map(&second));
    check_field(&outcome.records[3], "exptime", &number(100));
    check_field(&outcome.records[3], "key", &bytes("a"));
}

#[test]
fn the_other_classic_commands() {
    let steps = [
        send("delete a\r\n"),
        recv("DELETED\r\n"),
        send("delete a 0\r\n"),
        recv("NOT_FOUND\r\n"),
        send("incr n 18446744073709551615\r\n"),
        recv("41\r\n"),
        send("decr n 1\r\n"),
        recv("9 \r\n"),
        send("incr x 1\r\n"),
        recv("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        send("touch a 0\r\n"),
        recv("TOUCHED\r\n"),
        send("flush_all\r\nflush_all 10\r\nverbosity 2\r\nversion\r\n"),
        recv("OK\r\nOK\r\nOK\r\nVERSION 1.6.18\r\n"),
        send("slabs reassign 1 2\r\n"),
        recv("BADCLASS invalid src or dst class id\r\n"),
        send("lru_crawler enable\r\n"),
        recv("OK\r\n"),
        send("shutdown\r\n"),
        recv("ERROR: shutdown not enabled\r\n"),
        send("quit\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "delete a -> DELETED",
            "delete a 0 -> NOT_FOUND",
            "incr n 18446744073709551615 -> 41",
            "decr n 1 -> 9 ",
            "incr x 1 -> CLIENT_ERROR cannot increment or decrement non-numeric value",
            "touch a 0 -> TOUCHED",
            "flush_all -> OK",
            "flush_all 10 -> OK",
            "verbosity 2 -> OK",
            "version -> VERSION 1.6.18",
            "slabs reassign 1 2 -> BADCLASS invalid src or dst class id",
            "lru_crawler enable -> OK",
            "shutdown -> ERROR: shutdown not enabled",
            "quit",
        ],
    );
    check_field(&outcome.records[7], "delay", &number(10));
    check_field(&outcome.records[9], "version", &bytes("1.6.18"));
    check_field(
        &outcome.records[4],
        "error",
        &bytes("CLIENT_ERROR cannot increment or decrement non-numeric value"),
    );
    let Some(answer) = &outcome.records[3].response else { panic!("an answer") };
    assert_eq!(answer.field("value"), Some(&number(9)));
}

#[test]
fn lists_end_with_their_last_line() {
    let steps = [
        send("stats\r\n"),
        recv("STAT pid 17\r\nSTAT version 1.6.18\r\nSTAT rusage_user 0.5\r\nEND\r\n"),
        send("stats items\r\nstats reset\r\nstats sizes\r\n"),
        recv("END\r\nRESET\r\nSTAT sizes_status disabled\r\nEND\r\n"),
        send("stats cachedump 1 2\r\n"),
        recv("ITEM a [3 b; 0 s]\r\nITEM b [5 b; 0 s]\r\nEND\r\n"),
        send("stats detail dump\r\n"),
        recv("PREFIX a get 1 hit 0 set 1 del 0\r\nEND\r\n"),
        send("lru_crawler metadump all\r\n"),
        recv("key=a exp=-1 la=5 cas=1 fetch=no cls=1 size=63\r\nEND\r\n"),
        send("lru_crawler mgdump all\r\n"),
        recv("mg a\r\nmg b\r\nEN\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "stats -> 3 statistics",
            "stats items -> END",
            "stats reset -> RESET",
            "stats sizes -> 1 statistics",
            "stats cachedump 1 2 -> 2 lines",
            "stats detail dump -> 1 lines",
            "lru_crawler metadump all -> 1 lines",
            "lru_crawler mgdump all -> 2 lines",
        ],
    );
    let all = Value::Map(vec![
        (bytes("pid"), number(17)),
        (bytes("version"), bytes("1.6.18")),
        (bytes("rusage_user"), bytes("0.5")),
    ]);
    check_field(&outcome.records[0], "stats", &all);
    check_field(&outcome.records[4], "arguments", &Value::List(["cachedump", "1", "2"].map(bytes).to_vec()));
    check_field(&outcome.records[7], "lines", &Value::List(["mg a", "mg b"].map(bytes).to_vec()));
}

#[test]
fn noreply_has_no_answer_to_wait_for() {
    let steps = [
        send(
            "set a 0 0 1 noreply\r\nx\r\nincr a 1 noreply\r\ndelete a noreply\r\nflush_all noreply\r\nget a\r\n",
        ),
        recv("END\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "set a 1 bytes noreply",
            "incr a 1 noreply",
            "delete a noreply",
            "flush_all noreply",
            "get a -> miss",
        ],
    );
    check_field(&outcome.records[0], "noreply", &Value::Flag(true));
    assert_eq!(field(&outcome.records[3], "delay"), None);
}

#[test]
fn what_the_server_does_not_take_is_answered_with_an_error() {
    let steps = [
        send("mn\r\n"),
        recv("MN\r\n"),
        send("bogus one two\r\n"),
        recv("ERROR\r\n"),
        // The server reads seven bytes, and takes the rest for a command.
        send("set a 0 0 5\r\nhello world\r\n"),
        recv("CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
        send("\r\nGET a\r\nset a x 0 5\r\nhello\r\n"),
        recv("ERROR\r\nERROR\r\nCLIENT_ERROR bad command line format\r\nERROR\r\n"),
        send("get a\r\n"),
        recv("VALUE a 0 1\r\nx\r\nSERVER_ERROR out of memory writing get response\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "mn -> MN",
            "bogus one two -> ERROR",
            "set a 5 bytes -> CLIENT_ERROR bad data chunk",
            "orld -> ERROR",
            "an empty line -> ERROR",
            "GET a -> ERROR",
            "set a x 0 5 -> CLIENT_ERROR bad command line format",
            "hello -> ERROR",
            "get a -> SERVER_ERROR out of memory writing get response",
        ],
    );
    let endpoint = |record: &Record| {
        let endpoint = (PROTOCOL.endpoint)(record);
        (endpoint.name, endpoint.failed)
    };
    assert_eq!(endpoint(&outcome.records[0]), ("mn".to_owned(), false));
    assert_eq!(endpoint(&outcome.records[1]), ("unknown command".to_owned(), true));
    assert_eq!(endpoint(&outcome.records[2]), ("set".to_owned(), true));
}

#[test]
fn a_too_large_object_is_refused_before_its_data_has_come() {
    let steps = [
        send("get a\r\n"),
        recv("END\r\n"),
        send("set big 0 0 20\r\n0123"),
        recv("SERVER_ERROR object too large for cache\r\n"),
        send("4567890123456789\r\nget a\r\n"),
        recv("END\r\n"),
    ];
    check(
        &steps,
        &["get a -> miss", "set big 20 bytes -> SERVER_ERROR object too large for cache", "get a -> miss"],
    );
}

#[test]
fn meta_commands_with_their_flags() {
    let steps = [
        send("ms foo 2 T90 F7 c Oab k\r\nhi\r\n"),
        recv("HD c12 Oab kfoo\r\n"),
        send("mg foo t f v h l s c k O12\r\n"),
        recv("VA 2 t89 f7 h0 l5 s2 c12 kfoo O12 W\r\nhi\r\n"),
        send("mg foo\r\nmg none v k\r\n"),
        recv("HD\r\nEN\r\n"),
        send("md foo I T30 C5\r\nmd foo\r\n"),
        recv("EX\r\nHD\r\n"),
        send("ma n N0 J13 D2 MD v t\r\nma none\r\nma n MI\r\n"),
        recv("VA 2 t-1\r\n13\r\nNF\r\nHD\r\n"),
        send("me foo\r\nme none\r\nmn\r\n"),
        recv("ME foo exp=-1 la=2 cas=4 fetch=no cls=1 size=64\r\nEN\r\nMN\r\n"),
        send("ms foo 1 ME\r\nx\r\n"),
        recv("NS\r\n"),
        send("ms foo 3 S\r\nabc\r\n"),
        recv("CLIENT_ERROR invalid flag\r\n"),
    ];
    let outcome = check(
        &steps[..13],
        &[
            "ms foo 2 bytes T90 F7 c Oab k -> HD c12 Oab kfoo",
            "mg foo t f v h l s c k O12 -> VA 2 bytes t89 f7 h0 l5 s2 c12 kfoo O12 W",
            "mg foo -> HD",
            "mg none v k -> EN",
            "md foo I T30 C5 -> EX",
            "md foo -> HD",
            "ma n N0 J13 D2 MD v t -> VA 2 bytes t-1",
            "ma none -> NF",
            "ma n MI -> HD",
            "me foo -> ME foo exp=-1 la=2 cas=4 fetch=no cls=1 size=64",
            "me none -> EN",
            "mn -> MN",
            "ms foo 1 bytes ME [no-response]",
        ],
    );
    let asked = |record: &Record| record.request.as_ref().unwrap().field("flags").cloned();
    let answered = |record: &Record| record.response.as_ref().unwrap().field("flags").cloned();
    let set = map(&[
        ("ttl", number(90)),
        ("client_flags", number(7)),
        ("return_cas", Value::Flag(true)),
        ("opaque", bytes("ab")),
        ("return_key", Value::Flag(true)),
    ]);
    assert_eq!(asked(&outcome.records[0]), Some(set));
    let got = map(&[
        ("ttl", number(89)),
        ("client_flags", number(7)),
        ("hit_before", Value::Flag(false)),
        ("last_access", number(5)),
        ("size", number(2)),
        ("cas", number(12)),
        ("key", bytes("foo")),
        ("opaque", bytes("12")),
        ("won_recache", Value::Flag(true)),
    ]);
    assert_eq!(answered(&outcome.records[1]), Some(got));
    let arithmetic = map(&[
        ("vivify_ttl", number(0)),
        ("initial_value", number(13)),
        ("delta", number(2)),
        ("mode", word("decrement")),
        ("return_value", Value::Flag(true)),
        ("return_ttl", Value::Flag(true)),
    ]);
    assert_eq!(asked(&outcome.records[6]), Some(arithmetic));
    check_field(&outcome.records[6], "data", &bytes("13"));
    let Some(Value::Map(metadata)) = field(&outcome.records[9], "metadata") else { panic!("metadata") };
    assert_eq!(metadata[0], (bytes("exp"), number(-1)));
    let outcome =
        check(&steps[12..], &["ms foo 1 bytes ME -> NS", "ms foo 3 bytes S -> CLIENT_ERROR invalid flag"]);
    assert_eq!(asked(&outcome.records[0]), Some(map(&[("mode", word("add"))])));
}

#[test]
fn keys_in_base64_are_decoded() {
    let steps = [send("mg AAEC/w== b k v\r\n"), recv("VA 1 kAAEC/w== b\r\nx\r\n")];
    let outcome = check(&steps, &["mg AAEC/w== b k v -> VA 1 bytes kAAEC/w== b"]);
    check_field(&outcome.records[0], "key", &bytes("AAEC/w=="));
    check_field(&outcome.records[0], "key_decoded", &Value::Bytes(vec![0, 1, 2, 255]));
}

#[test]
fn quiet_commands_are_told_apart_by_what_still_comes() {
    let steps = [
        // A miss is suppressed, a hit is not; the barrier says that all is done.
        send("mg a v q\r\nmg b v q\r\nmg c v q\r\nmn\r\n"),
        recv("VA 1\r\nb\r\nMN\r\n"),
        // All are hits or misses of the same form: opaque tokens tell.
        send("mg a v q O1\r\nmg b v q O2\r\nmg c v q O3\r\nmn\r\n"),
        recv("VA 1 O3\r\nc\r\nMN\r\n"),
        // Keys tell likewise.
        send("mg a v k q\r\nmg b v k q\r\nmn\r\n"),
        recv("VA 1 kb\r\nb\r\nMN\r\n"),
        // HD is suppressed, other codes are not.
        send("ms a 1 q\r\nx\r\nms b 1 q ME O7\r\ny\r\nmd a q\r\nma n q\r\nmn\r\n"),
        recv("NS O7\r\nNF\r\nMN\r\n"),
        // Errors are never suppressed, and go to who deserves them.
        send("mg a v q\r\nmg b v v q\r\nmn\r\n"),
        recv("CLIENT_ERROR duplicate flag\r\nMN\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            // By what they are, an answer to a and one to b look the same: nothing tells whose it is.
            "VA 1 bytes [no-request]",
            "mg a v q",
            "mg b v q",
            "mg c v q",
            "mn -> MN",
            "mg a v q O1 -> suppressed",
            "mg b v q O2 -> suppressed",
            "mg c v q O3 -> VA 1 bytes O3",
            "mn -> MN",
            "mg a v k q -> suppressed",
            "mg b v k q -> VA 1 bytes kb",
            "mn -> MN",
            "ms a 1 bytes q -> suppressed",
            "ms b 1 bytes q ME O7 -> NS O7",
            "NF [no-request]",
            "md a q",
            "ma n q",
            "mn -> MN",
            "mg a v q -> suppressed",
            "mg b v v q -> CLIENT_ERROR duplicate flag",
            "mn -> MN",
        ],
    );
    check_field(&outcome.records[0], "request", &word("unknown: one of 3 commands, some of them quiet"));
    check_field(&outcome.records[2], "answer", &word("unknown"));
    check_field(&outcome.records[5], "answer", &word("suppressed"));
    let alone = run_in_cuts(&PROTOCOL, &[send("ms a 1 q\r\nx\r\n")], setup());
    assert_eq!(alone.summaries(), ["ms a 1 bytes q"]);
    check_field(&alone.records[0], "answer", &word("none seen"));
}

#[test]
fn the_answers_behind_them_tell_what_quiet_commands_were_answered() {
    let steps = [
        // As many answers as commands.
        send("mg a v q\r\nmg b v q\r\nmn\r\n"),
        recv("VA 1\r\na\r\nVA 1\r\nb\r\nMN\r\n"),
        // What lies between two that differ in form.
        send("mg a v q\r\nmg b t q\r\nmg c v q\r\nmn\r\n"),
        recv("VA 1\r\na\r\nHD t5\r\nMN\r\n"),
        // The last one is not quiet, and has an answer of its own.
        send("mg a v q\r\nmg b v q\r\nmg c v\r\n"),
        recv("VA 1\r\nc\r\n"),
        send("mn\r\n"),
        recv("MN\r\n"),
        send("mg a v q\r\nmg b v q\r\nmg c v\r\n"),
        recv("VA 1\r\nb\r\nVA 1\r\nc\r\n"),
        send("mn\r\n"),
        recv("MN\r\n"),
    ];
    check(
        &steps,
        &[
            "mg a v q -> VA 1 bytes",
            "mg b v q -> VA 1 bytes",
            "mn -> MN",
            "mg a v q -> VA 1 bytes",
            "mg b t q -> HD t5",
            "mg c v q -> suppressed",
            "mn -> MN",
            "mg a v q -> suppressed",
            "mg b v q -> suppressed",
            "mg c v -> VA 1 bytes",
            "mn -> MN",
            // One of two: the other answer is that to c.
            "VA 1 bytes [no-request]",
            "mg a v q",
            "mg b v q",
            "mg c v -> VA 1 bytes",
            "mn -> MN",
        ],
    );
}

#[test]
fn a_client_that_does_not_wait_proves_nothing_of_its_quiet_commands() {
    let steps = [
        send("mg a v q\r\nmg b v q\r\nmg c v\r\n"),
        recv("VA 1\r\nx\r\n"),
        send("mg d v\r\n"),
        recv("VA 1\r\ny\r\n"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        ["VA 1 bytes [no-request]", "VA 1 bytes [no-request]", "mg a v q", "mg b v q", "mg c v", "mg d v"]
    );
}

#[test]
fn commands_that_are_sent_together_are_answered_in_order() {
    let steps = [
        send("set a 0 0 1\r\nx\r\nget a\r\nget b\r\nmg a v\r\nincr n 1\r\nstats\r\nmn\r\n"),
        recv(
            "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\nVA 1\r\nx\r\nNOT_FOUND\r\nSTAT a 1\r\nEND\r\nMN\r\n",
        ),
    ];
    check(
        &steps,
        &[
            "set a 1 bytes -> STORED",
            "get a -> hit, 1 bytes",
            "get b -> miss",
            "mg a v -> VA 1 bytes",
            "incr n 1 -> NOT_FOUND",
            "stats -> 1 statistics",
            "mn -> MN",
        ],
    );
}

#[test]
fn an_answer_that_is_seen_before_its_command_waits_for_it() {
    let steps = [recv("STORED\r\n"), send("set a 0 0 1\r\nx\r\n"), recv("END\r\n"), send("get a\r\n")];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), ["set a 1 bytes -> STORED", "get a -> miss"]);
}

#[test]
fn a_watcher_gets_lines_unasked() {
    let steps = [
        send("watch fetchers\r\n"),
        recv("OK\r\nts=1.5 gid=1 type=item_get key=a status=not_found\r\n"),
        recv("ts=1.6 gid=2 type=item_get key=b status=found\r\n"),
    ];
    let expected = [
        "watch fetchers -> OK",
        "ts=1.5 gid=1 type=item_get key=a status=not_found",
        "ts=1.6 gid=2 type=item_get key=b status=found",
    ];
    check(&steps, &expected);
    let refused = [recv("ERROR Too many open connections\r\n")];
    let options = Options { role: crate::event::Role::Client, ..setup().options };
    let outcome = run(&PROTOCOL, &refused, Setup { options, ..setup() });
    assert_eq!(outcome.summaries(), ["ERROR Too many open connections"]);
}

#[test]
fn passwords_are_masked_unless_wanted() {
    let steps = [
        send("set auth 0 0 11\r\nme hunter23\r\n"),
        recv("CLIENT_ERROR authentication failure\r\n"),
        send("set auth 0 0 11\r\nme hunter24\r\n"),
        recv("STORED\r\n"),
        send("set k 0 0 11\r\nhello world\r\n"),
        recv("STORED\r\n"),
    ];
    for show_secrets in [false, true] {
        let options = Options { show_secrets, ..setup().options };
        let outcome = run_in_cuts(&PROTOCOL, &steps, Setup { options, ..setup() });
        let data = |index: usize| field(&outcome.records[index], "data").cloned();
        let masked = bytes(&format!("me {MASK}"));
        let expected = |open: &str| Some(if show_secrets { bytes(open) } else { masked.clone() });
        assert_eq!(data(0), expected("me hunter23"));
        assert_eq!(data(1), expected("me hunter24"));
        assert_eq!(data(2), Some(bytes("hello world")));
    }
}

/// So many bytes as a data block, in steps of 64 KiB.
fn block(direction: Direction, length: usize) -> impl Iterator<Item = Step> {
    (0..length / (64 << 10)).map(move |_| Step::Bytes(direction, vec![b'x'; 64 << 10]))
}

fn streamed(steps: &[Step]) -> Outcome {
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PROTOCOL, steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    outcome
}

#[test]
fn data_of_any_size_streams_through_and_is_shown_in_part() {
    const SIZE: usize = 64 << 20;
    let mut steps = vec![send(format!("set big 0 0 {SIZE}\r\n"))];
    steps.extend(block(Direction::Send, SIZE));
    steps.extend([
        send("\r\n"),
        recv("STORED\r\n"),
        send("get big\r\n"),
        recv(format!("VALUE big 0 {SIZE}\r\n")),
    ]);
    steps.extend(block(Direction::Recv, SIZE));
    steps.push(recv("\r\nEND\r\n"));
    let outcome = streamed(&steps);
    let expected = [format!("set big {SIZE} bytes -> STORED"), format!("get big -> hit, {SIZE} bytes")];
    assert_eq!(outcome.summaries(), expected);
    for record in &outcome.records {
        assert_eq!(record.causes(), [Cause::FieldTruncated]);
    }
    let Some(Value::Bytes(data)) = field(&outcome.records[0], "data") else { panic!("data") };
    assert_eq!(data.len(), 4096);
}

#[test]
fn a_long_block_that_does_not_end_where_it_should_is_known() {
    const SIZE: usize = 64 << 10;
    let mut steps = vec![send(format!("mg k q\r\nms big {SIZE} q\r\n"))];
    steps.extend(block(Direction::Send, SIZE));
    steps.extend([send("xx\r\n"), recv("CLIENT_ERROR bad data chunk\r\nERROR\r\n")]);
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    let expected = [
        "mg k q -> suppressed".to_owned(),
        format!("ms big {SIZE} bytes q -> CLIENT_ERROR bad data chunk"),
        "an empty line -> ERROR".to_owned(),
    ];
    assert_eq!(outcome.summaries(), expected);
    // A server never does that: it is no answer then.
    let steps = [send("get k\r\n"), recv("VALUE k 0 2\r\nabc\r\nEND\r\n")];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}

#[test]
fn what_waits_and_what_is_kept_is_bounded() {
    let gets: String = (0..5000).map(|n| format!("get {n}\r\n")).collect();
    let outcome = run(&PROTOCOL, &[send(gets)], setup());
    assert_eq!(outcome.records.len(), 5000);
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!(limited, 5000 - crate::protocol::exchange::PENDING_MAX);
    let quiet: String = (0..5000).map(|n| format!("ms {n} 0 q\r\n\r\n")).collect();
    let outcome = run(&PROTOCOL, &[send(quiet)], setup());
    assert!(outcome.records.iter().all(|record| record.causes().is_empty()), "nothing is missing");
    let keys: Vec<String> = (0..10_000).map(|n| format!("key{n}")).collect();
    let values: String = keys[1..].iter().map(|key| format!("VALUE {key} 0 1\r\nx\r\n")).collect();
    let steps = [send(format!("get {}\r\n", keys.join(" "))), recv(format!("{values}END\r\n"))];
    let outcome = run(&PROTOCOL, &steps, setup());
    let record = &outcome.records[0];
    assert!(record.summary.ends_with("-> 9999 hits, 1 miss, 9999 bytes"), "{}", record.summary);
    assert_eq!(record.causes(), [Cause::FieldTruncated]);
    check_field(record, "key_count", &number(10_000));
    check_field(record, "misses", &Value::List(vec![bytes("key0")]));
}

#[test]
fn the_binary_protocol_is_named() {
    let get = b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x07\0\0\0\0\0\0\0\0Hello";
    let miss = b"\x81\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x07\0\0\0\0\0\0\0\0Not found";
    for mid_stream in [false, true] {
        let outcome = run(&PROTOCOL, &[send(get), recv(miss)], Setup { mid_stream, ..setup() });
        assert_eq!(outcome.switched.as_deref(), Some("the binary protocol of memcached"));
        assert!(outcome.skipped.iter().all(|(_, _, cause, _)| *cause == Cause::Unsupported), "{outcome:?}");
        assert_eq!(outcome.records, []);
    }
}
