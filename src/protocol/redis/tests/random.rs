//! Random conversations: whatever is said, in whatever cuts, the records tell the same; garbage and holes
//! never make a byte disappear.

use super::driver::{Outcome, Random, Setup, Step, command, cut, recv, run, run_all_cuts, send};
use crate::event::{Cause, Direction};
use crate::protocol::Options;
use crate::record::{Field, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// A value of RESP with its bytes; what it has to be in a record.
#[derive(Clone, Debug)]
struct Sample {
    wire: Vec<u8>,
    value: Value,
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\r\n").into_bytes()
}

fn bulk(sign: char, bytes: &[u8]) -> Vec<u8> {
    [format!("{sign}{}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn sample(wire: Vec<u8>, value: Value) -> Sample {
    Sample { wire, value }
}

fn leaf() -> impl Strategy<Value = Sample> {
    prop_oneof![
        "[ -~]{0,30}".prop_map(|text| sample(line(&format!("+{text}")), Value::Bytes(text.into_bytes()))),
        any::<i64>().prop_map(|number| sample(line(&format!(":{number}")), Value::Number(number))),
        vec(any::<u8>(), 0..100).prop_map(|bytes| sample(bulk('$', &bytes), Value::Bytes(bytes))),
        // Values that look like the protocol itself.
        "(\\*2\r\n|\\$3\r\nGET\r\n|\\+OK\r\n|:1\r\n){0,4}"
            .prop_map(|text| sample(bulk('$', text.as_bytes()), Value::Bytes(text.into_bytes()))),
        vec(any::<u8>(), 4..50).prop_map(|bytes| sample(bulk('=', &bytes), Value::Bytes(bytes))),
        Just(sample(line("$-1"), Value::Null)),
        Just(sample(line("*-1"), Value::Null)),
        Just(sample(line("_"), Value::Null)),
        any::<bool>().prop_map(|flag| { sample(line(if flag { "#t" } else { "#f" }), Value::Flag(flag)) }),
        (-1e9..1e9f64).prop_map(|number| sample(line(&format!(",{number}")), Value::Float(number))),
        "-?[1-9][0-9]{20,40}"
            .prop_map(|text| sample(line(&format!("({text}")), Value::Bytes(text.into_bytes()))),
        (vec(any::<u8>(), 1..20), vec(any::<u8>(), 0..20)).prop_map(|(one, two)| {
            let chunk = |bytes: &[u8]| [format!(";{}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            let two_chunk = if two.is_empty() { Vec::new() } else { chunk(&two) };
            let wire = [line("$?"), chunk(&one), two_chunk, line(";0")].concat();
            sample(wire, Value::Bytes([one, two].concat()))
        }),
    ]
}

fn list(sign: char, streamed: bool, items: &[Sample]) -> Sample {
    let head = if streamed { line(&format!("{sign}?")) } else { line(&format!("{sign}{}", items.len())) };
    let tail = if streamed { line(".") } else { Vec::new() };
    let body: Vec<u8> = items.iter().flat_map(|item| item.wire.clone()).collect();
    let values = items.iter().map(|item| item.value.clone()).collect();
    sample([head, body, tail].concat(), Value::List(values))
}

fn map(pairs: &[(Sample, Sample)]) -> Sample {
    let body = pairs.iter().flat_map(|(key, value)| [key.wire.clone(), value.wire.clone()].concat());
    let wire = line(&format!("%{}", pairs.len())).into_iter().chain(body).collect();
    let values = pairs.iter().map(|(key, value)| (key.value.clone(), value.value.clone())).collect();
    sample(wire, Value::Map(values))
}

fn any_value() -> impl Strategy<Value = Sample> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            (prop::sample::select(vec!['*', '~']), any::<bool>(), vec(inner.clone(), 0..6))
                .prop_map(|(sign, streamed, items)| list(sign, streamed, &items)),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(|pairs| map(&pairs)),
            (inner.clone(), inner).prop_map(|(attribute, value)| {
                let wire = [line("|1"), line("+key"), attribute.wire, value.wire].concat();
                sample(wire, value.value)
            }),
        ]
    })
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        Just("GET".to_owned()),
        Just("SET".to_owned()),
        Just("mget".to_owned()),
        "[A-Z]{2,8}\\.[a-z]{3}"
    ];
    (name, vec("[ -~\r\n]{0,40}", 0..5))
        .prop_map(|(name, arguments)| std::iter::once(name).chain(arguments).collect())
}

fn value_of(fields: &[Field], name: &str) -> Option<Value> {
    fields.iter().find(|field| field.name == name).map(|field| field.value.clone())
}

fn bytes_of(words: &[String]) -> Vec<u8> {
    command(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// NaN is not equal to itself, so no test makes one: the generator's numbers are finite.
fn check(turns: &[Vec<(Vec<String>, Sample)>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for turn in turns {
        steps.push(send(turn.iter().flat_map(|(words, _)| bytes_of(words)).collect::<Vec<u8>>()));
        steps.push(recv(turn.iter().flat_map(|(_, value)| value.wire.clone()).collect::<Vec<u8>>()));
    }
    let options = Options { max_field: 1 << 20, show_secrets: true, ..Options::default() };
    let outcome = run_all_cuts(&steps, Setup { options, ..Setup::default() });
    let exchanges: Vec<_> = turns.iter().flatten().collect();
    assert_eq!(outcome.records.len(), exchanges.len(), "{:#?}", outcome.summaries());
    for (record, (words, value)) in outcome.records.iter().zip(exchanges) {
        let (request, response) = (record.request.as_ref().unwrap(), record.response.as_ref().unwrap());
        assert_eq!(value_of(&request.fields, "command"), Some(Value::Bytes(words[0].clone().into_bytes())));
        let arguments = words[1..].iter().map(|word| Value::Bytes(word.clone().into_bytes())).collect();
        assert_eq!(value_of(&request.fields, "args"), Some(Value::List(arguments)));
        assert_eq!(value_of(&response.fields, "value"), Some(value.value.clone()));
        assert_eq!(record.causes(), []);
    }
    steps
}

fn lose(steps: &[Step], random: &mut Random) -> Vec<Step> {
    let index = random.below(steps.len());
    let mut holed = steps.to_vec();
    if let Step::Bytes(direction, bytes) = &steps[index] {
        let from = random.below(bytes.len());
        let to = from + 1 + random.below(bytes.len() - from);
        let parts = [
            Step::Bytes(*direction, bytes[..from].to_vec()),
            Step::Gap(*direction, (to - from) as u64, Cause::RingFull),
            Step::Bytes(*direction, bytes[to..].to_vec()),
        ];
        holed.splice(index..=index, parts);
    }
    holed.retain(|step| !matches!(step, Step::Bytes(_, bytes) if bytes.is_empty()));
    holed
}

/// What the driver proves by itself: no panic, and every byte accounted for once.
fn survives(steps: &[Step], random: &mut Random) -> Outcome {
    let length = 1 + random.below(300);
    let pieces = cut(steps, || 1 + random.below(length));
    let options = Options { max_field: random.below(200), ..Options::default() };
    run(&pieces, Setup { options, mid_stream: random.below(2) == 0, pause: 1000 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_tell_what_was_said(
        turns in vec(vec((words(), any_value()), 1..4), 1..4),
        seed in 1u64..,
    ) {
        let steps = check(&turns);
        let mut random = Random(seed);
        for _ in 0..5 {
            let holed = lose(&steps, &mut random);
            survives(&holed, &mut random);
        }
    }

    #[test]
    fn garbage_is_accounted_for(
        pieces in vec((any::<bool>(), vec(prop_oneof![
            3 => prop::sample::select(b"*$+-:\r\n0123456789;?.|>%~GETk".to_vec()),
            1 => any::<u8>(),
        ], 1..60)), 1..20),
        seed in 1u64..,
    ) {
        let steps: Vec<Step> = pieces
            .into_iter()
            .map(|(sent, bytes)| Step::Bytes(if sent { Direction::Send } else { Direction::Recv }, bytes))
            .collect();
        let mut random = Random(seed);
        survives(&steps, &mut random);
        survives(&lose(&steps, &mut random), &mut random);
    }
}
