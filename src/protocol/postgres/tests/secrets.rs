//! What must not be shown, and is where that is asked for.

use super::*;
use crate::protocol::testing::run;

const SECRETS: [&str; 5] = ["hunter2", "proof-of-it", "salt-of-it", "01020304", "p4ss"];

fn steps() -> Vec<Step> {
    let key = [0, 0, 0, 9, 1, 2, 3, 4];
    vec![
        send(startup("user\0me\0\0")),
        recv(auth(10, b"SCRAM-SHA-256\0\0")),
        send(msg(b'p', b"SCRAM-SHA-256\0\x00\x00\x00\x0bproof-of-it")),
        recv(auth(11, b"salt-of-it")),
        send(msg(b'p', b"proof-of-it")),
        recv([auth(12, b"proof-of-it"), auth(3, &[])].concat()),
        send(msg(b'p', "hunter2\0")),
        recv([auth(0, &[]), msg(b'K', key), ready('I')].concat()),
        send(query("ALTER USER me PASSWORD 'p4ss'")),
        recv([done("ALTER ROLE"), ready('I')].concat()),
        send(
            [parse("", "CREATE ROLE x PASSWORD 'p4ss'", &[]), bind("", "", 0, &[]), execute("", 0), sync()]
                .concat(),
        ),
        recv([bare("12"), done("CREATE ROLE"), ready('I')].concat()),
    ]
}

fn shown(steps: &[Step], show_secrets: bool) -> String {
    let options = Options { show_secrets, ..setup().options };
    let outcome = run(&PROTOCOL, steps, Setup { options, ..setup() });
    // Bytes as text, so that a search finds them.
    outcome
        .records
        .iter()
        .flat_map(|record| {
            let fields = record.messages().flat_map(|message| &message.fields);
            fields.map(|field| flat(&field.value)).chain([record.summary.clone()]).collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn flat(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(list) => list.iter().map(flat).collect(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| flat(name) + &flat(value)).collect(),
        other => format!("{other:?}"),
    }
}

#[test]
fn secrets_are_masked_unless_wanted() {
    let masked = shown(&steps(), false);
    let open = shown(&steps(), true);
    for secret in SECRETS {
        assert!(!masked.contains(secret), "{secret} in {masked}");
        assert!(open.contains(secret), "{secret} not in {open}");
    }
    let cancel = [send(packet(80_877_102, &[0, 0, 0, 9, 1, 2, 3, 4]))];
    assert!(!shown(&cancel, false).contains("01020304"));
    assert!(shown(&cancel, true).contains("01020304"));
}
