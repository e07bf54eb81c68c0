//! Commands by name: which are known, what their first argument is, which change the rules of pairing, and
//! which arguments are secret.
//!
//! Source of the tables: COMMAND of Redis 7.0, and the commands that the release notes of 7.2, 7.4, 8.0 and
//! 8.2 add.

use super::element::{Element, Piece};
use super::pairing::{Class, Effect};
use crate::protocol::{MASK, MASKED};
use crate::record::{Field, Value};

/// What the first argument of a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A key.
    Key,
    /// A channel or pattern.
    Channel,
    /// The second word of the command's name.
    Subcommand,
    /// Anything else, or nothing.
    Other,
}

/// Longest name of a command that is looked up.
const MAX_NAME: usize = 24;

/// Looks up a command's name, in whatever case it is written. `None`: no command of Redis.
pub fn lookup(name: &[u8]) -> Option<(&'static str, First)> {
    let mut buffer = [0; MAX_NAME];
    let upper = buffer.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let tables: [(&'static [&'static str], First); 4] = [
        (&WITH_KEY, First::Key),
        (&PLAIN, First::Other),
        (&WITH_SUBCOMMAND, First::Subcommand),
        (&WITH_CHANNEL, First::Channel),
    ];
    tables.into_iter().find_map(|(names, first)| {
        let at = names.binary_search_by(|known| known.as_bytes().cmp(upper)).ok()?;
        Some((names[at], first))
    })
}

/// True for what can be the name of a command: of Redis, of a module (`JSON.GET`) or misspelt.
pub fn is_name(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What the records show of a command.
pub struct Command {
    /// Its fields.
    pub fields: Vec<Field>,
    /// Its part of the summary: `GET user:1`.
    pub summary: String,
    /// What it means for its reply and those after it.
    pub effect: Effect,
    /// Enough of the command was seen to know its effect.
    pub is_clear: bool,
    /// Arguments were left out of the fields.
    pub cut: bool,
}

impl Command {
    /// Describes the command that `element` holds, and masks its secrets unless `show_secrets`.
    pub fn new(element: &mut Element, show_secrets: bool) -> Command {
        let words: [Option<&[u8]>; 3] = [0, 1, 2].map(|index| element.piece(index).and_then(Piece::text));
        let known = words[0].and_then(lookup);
        let name = known.map_or("", |(name, _)| name);
        let arguments = element.count.map(|count| count.saturating_sub(1));
        let effect = effect(name, words, arguments);
        let is_named = words[0].is_some();
        let is_clear = is_clear(name, words, arguments);
        let mut fields = Vec::with_capacity(4);
        let mut summary = match (known, element.piece(0)) {
            (Some((name, _)), _) => name.to_owned(),
            (None, Some(piece)) => shorten(piece),
            (None, None) => "command".to_owned(),
        };
        if let Some(piece) = element.piece(0) {
            fields.push(Field::new("command", Value::Bytes(piece.bytes().to_vec())));
        }
        if let (Some((_, first)), Some(piece)) = (known, element.piece(1)) {
            let field = match first {
                First::Key => Some("key"),
                First::Channel => Some("channel"),
                First::Subcommand => Some("subcommand"),
                First::Other => None,
            };
            if let Some(field) = field {
                fields.push(Field::new(field, Value::Bytes(piece.bytes().to_vec())));
                let text = shorten(piece);
                summary.push(' ');
                summary.push_str(&if first == First::Subcommand { text.to_ascii_uppercase() } else { text });
            }
        }
        if let Some(Value::List(mut list)) = element.take_value()
            && !list.is_empty()
        {
            list.remove(0);
            if !show_secrets && element.has_gap && can_be_secret(known.map(|(name, _)| name), is_named) {
                list.fill(MASKED);
            } else if !show_secrets {
                mask(name, arguments.unwrap_or(u64::MAX), &mut list);
            }
            fields.push(Field::new("args", Value::List(list)));
        }
        if let Some(arguments) = arguments {
            let count = i64::try_from(arguments).unwrap_or(i64::MAX);
            fields.push(Field::new("arg_count", Value::Number(count)));
        }
        if element.is_inline {
            fields.push(Field::new("inline", Value::Flag(true)));
        }
        Command { fields, summary, effect, is_clear, cut: element.cut }
    }
}

/// The bytes kept of a piece as text, with an ellipsis where there are more.
pub fn shorten(piece: &Piece) -> String {
    let mut text = String::from_utf8_lossy(piece.bytes()).into_owned();
    if piece.text().is_none() {
        text.push('\u{2026}');
    }
    text
}

/// False where a word is missing that can change the effect.
fn is_clear(name: &str, words: [Option<&[u8]>; 3], arguments: Option<u64>) -> bool {
    let [command, first, second] = words.map(|word| word.is_some());
    let is_reply = words[1].is_none_or(|word| word.eq_ignore_ascii_case(b"REPLY"));
    // Only CLIENT REPLY has its effect in its arguments, of which it has two.
    let needs_all = name == "CLIENT" && arguments.is_none_or(|count| count == 2) && is_reply;
    command && (!needs_all || first && second)
}

/// What a command means for pairing.
fn effect(name: &str, words: [Option<&[u8]>; 3], arguments: Option<u64>) -> Effect {
    let is = |index: usize, word: &str| {
        words[index].is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    };
    let channels = arguments.unwrap_or(0);
    match name {
        "SUBSCRIBE" => Effect::Subscribe(Class::Channel, channels),
        "PSUBSCRIBE" => Effect::Subscribe(Class::Pattern, channels),
        "SSUBSCRIBE" => Effect::Subscribe(Class::Shard, channels),
        "UNSUBSCRIBE" => Effect::Unsubscribe(Class::Channel, channels),
        "PUNSUBSCRIBE" => Effect::Unsubscribe(Class::Pattern, channels),
        "SUNSUBSCRIBE" => Effect::Unsubscribe(Class::Shard, channels),
        "MONITOR" => Effect::Monitor,
        "RESET" => Effect::Reset,
        "HELLO" => Effect::Hello { resp3: words[1].map(|version| version == b"3") },
        "PSYNC" => Effect::Psync,
        "SYNC" => Effect::Sync,
        "CONFIG" if words[1].is_none() || is(1, "GET") => Effect::ConfigGet,
        "ACL" => Effect::Acl,
        "CLIENT" if is(1, "REPLY") && arguments == Some(2) => match () {
            () if is(2, "OFF") => Effect::RepliesOff,
            () if is(2, "ON") => Effect::RepliesOn,
            () if is(2, "SKIP") => Effect::SkipReply,
            () => Effect::None,
        },
        _ => Effect::None,
    }
}

/// Parameters of CONFIG whose values are secret.
const SECRET_PARAMETERS: [&str; 4] =
    ["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Whether a command with a gap can hold a secret that nothing marks any more.
fn can_be_secret(known: Option<&str>, is_named: bool) -> bool {
    const WITH_SECRETS: [&str; 6] = ["ACL", "AUTH", "CONFIG", "HELLO", "MIGRATE", "SENTINEL"];
    known.map_or(!is_named, |name| WITH_SECRETS.contains(&name))
}

/// Masks the secrets among the arguments of the command `name`, of which it has `count`. `arguments` may be
/// cut off, never thinned out, so that positions hold.
pub fn mask(name: &str, count: u64, arguments: &mut [Value]) {
    match name {
        // AUTH password, AUTH user password.
        "AUTH" => arguments.iter_mut().skip(usize::from(count == 2)).for_each(|argument| *argument = MASKED),
        "HELLO" => mask_after(arguments, 1, &[("AUTH", 2)]),
        "MIGRATE" => mask_after(arguments, 5, &[("AUTH", 1), ("AUTH2", 2)]),
        "SENTINEL" => mask_after(arguments, 1, &[("auth-pass", 1), ("sentinel-pass", 1)]),
        "CONFIG" if is(arguments.first(), "SET") => {
            arguments[1..].chunks_mut(2).for_each(mask_parameter);
        }
        "ACL" if is(arguments.first(), "SETUSER") => arguments[1..].iter_mut().for_each(mask_rule),
        _ => {}
    }
}

/// Masks the values of secret parameters in the reply to CONFIG GET.
pub fn mask_config(reply: &mut Value) {
    match reply {
        Value::List(values) => values.chunks_mut(2).for_each(mask_parameter),
        Value::Map(pairs) => {
            for (name, value) in pairs {
                if is_secret_parameter(name) {
                    *value = MASKED;
                }
            }
        }
        _ => {}
    }
}

/// Fewer hexadecimal digits are a word like any other.
const PASSWORD_MIN: usize = 8;

/// Masks what the reply to a command of ACL shows: a new password, and hashes (64 hexadecimal digits, in a list of rules
/// behind `#`).
pub fn mask_acl(reply: &mut Value) {
    match reply {
        Value::List(values) => values.iter_mut().for_each(mask_acl),
        Value::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| mask_acl(value)),
        Value::Bytes(text) if text.len() >= PASSWORD_MIN && text.iter().all(u8::is_ascii_hexdigit) => {
            *reply = MASKED;
        }
        Value::Bytes(text) => {
            let rules: Vec<Vec<u8>> = text.split(|&byte| byte == b' ').map(masked_rule).collect();
            *text = rules.join(&b' ');
        }
        _ => {}
    }
}

/// The error with which ACL SETUSER refuses a rule quotes it.
pub fn mask_refused_rule(error: &str) -> String {
    match error.split_once("modifier '") {
        Some((before, rule)) if rule.starts_with(['>', '<', '#', '!']) => {
            let after = rule.rfind("':").map_or("", |end| &rule[end..]);
            format!("{before}modifier '{}{MASK}{after}", &rule[..1])
        }
        _ => error.to_owned(),
    }
}

fn masked_rule(rule: &[u8]) -> Vec<u8> {
    match rule.first() {
        Some(sign @ (b'>' | b'<' | b'#' | b'!')) if rule.len() > 1 => [&[*sign], MASK.as_bytes()].concat(),
        _ => rule.to_vec(),
    }
}

fn is(value: Option<&Value>, word: &str) -> bool {
    matches!(value, Some(Value::Bytes(text)) if text.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_secret_parameter(name: &Value) -> bool {
    SECRET_PARAMETERS.iter().any(|parameter| is(Some(name), parameter))
}

/// Masks the argument that stands `distance` behind one of the words, from position `from` on.
fn mask_after(arguments: &mut [Value], from: usize, words: &[(&str, usize)]) {
    for at in from..arguments.len() {
        for &(word, distance) in words {
            if is(arguments.get(at), word)
                && let Some(secret) = arguments.get_mut(at + distance)
            {
                *secret = MASKED;
            }
        }
    }
}

/// A parameter's name with its value.
fn mask_parameter(pair: &mut [Value]) {
    if let [name, value] = pair
        && is_secret_parameter(name)
    {
        *value = MASKED;
    }
}

/// A rule of ACL SETUSER: `>password`, `<password`, `#hash` and `!hash` hold secrets.
fn mask_rule(rule: &mut Value) {
    if let Value::Bytes(text) = rule {
        *text = masked_rule(text);
    }
}

/// Commands whose first argument is a key.
#[rustfmt::skip]
static WITH_KEY: [&str; 186] = [
    "APPEND", "BITCOUNT", "BITFIELD", "BITFIELD_RO", "BITPOS", "BLMOVE", "BLPOP", "BRPOP", "BRPOPLPUSH",
    "BZPOPMAX", "BZPOPMIN", "COPY", "DECR", "DECRBY", "DEL", "DELEX", "DIGEST", "DUMP", "EXISTS", "EXPIRE",
    "EXPIREAT", "EXPIRETIME", "GEOADD", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUS", "GEORADIUSBYMEMBER",
    "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO", "GEOSEARCH", "GEOSEARCHSTORE", "GET", "GETBIT", "GETDEL",
    "GETEX", "GETRANGE", "GETSET", "HDEL", "HEXISTS", "HEXPIRE", "HEXPIREAT", "HEXPIRETIME", "HGET",
    "HGETALL", "HGETDEL", "HGETEX", "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HMSET",
    "HPERSIST", "HPEXPIRE", "HPEXPIREAT", "HPEXPIRETIME", "HPTTL", "HRANDFIELD", "HSCAN", "HSET", "HSETEX",
    "HSETNX", "HSTRLEN", "HTTL", "HVALS", "INCR", "INCRBY", "INCRBYFLOAT", "LCS", "LINDEX", "LINSERT",
    "LLEN", "LMOVE", "LPOP", "LPOS", "LPUSH", "LPUSHX", "LRANGE", "LREM", "LSET", "LTRIM", "MGET", "MOVE",
    "MSET", "MSETNX", "PERSIST", "PEXPIRE", "PEXPIREAT", "PEXPIRETIME", "PFADD", "PFCOUNT", "PFMERGE",
    "PSETEX", "PTTL", "RENAME", "RENAMENX", "RESTORE", "RESTORE-ASKING", "RPOP", "RPOPLPUSH", "RPUSH",
    "RPUSHX", "SADD", "SCARD", "SDIFF", "SDIFFSTORE", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE",
    "SINTER", "SINTERSTORE", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SMOVE", "SORT", "SORT_RO", "SPOP",
    "SRANDMEMBER", "SREM", "SSCAN", "STRLEN", "SUBSTR", "SUNION", "SUNIONSTORE", "TOUCH", "TTL", "TYPE",
    "UNLINK", "VADD", "VCARD", "VDIM", "VEMB", "VGETATTR", "VINFO", "VISMEMBER", "VLINKS", "VRANDMEMBER",
    "VRANGE", "VREM", "VSETATTR", "VSIM", "WATCH", "XACK", "XACKDEL", "XADD", "XAUTOCLAIM", "XCLAIM",
    "XDEL", "XDELEX", "XLEN", "XPENDING", "XRANGE", "XREVRANGE", "XSETID", "XTRIM", "ZADD", "ZCARD",
    "ZCOUNT", "ZDIFFSTORE", "ZINCRBY", "ZINTERSTORE", "ZLEXCOUNT", "ZMSCORE", "ZPOPMAX", "ZPOPMIN",
    "ZRANDMEMBER", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANGESTORE", "ZRANK", "ZREM",
    "ZREMRANGEBYLEX", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN", "ZSCORE", "ZUNIONSTORE",
];

/// Commands whose first argument is a channel or pattern.
#[rustfmt::skip]
static WITH_CHANNEL: [&str; 8] = [
    "PSUBSCRIBE", "PUBLISH", "PUNSUBSCRIBE", "SPUBLISH", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE",
    "UNSUBSCRIBE",
];

/// Commands whose first argument names what they do.
#[rustfmt::skip]
static WITH_SUBCOMMAND: [&str; 17] = [
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE",
    "OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];

/// All other commands.
#[rustfmt::skip]
static PLAIN: [&str; 61] = [
    "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "BITOP", "BLMPOP", "BZMPOP", "DBSIZE", "DISCARD", "ECHO",
    "EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "EXEC", "FAILOVER", "FCALL", "FCALL_RO", "FLUSHALL",
    "FLUSHDB", "HELLO", "INFO", "KEYS", "LASTSAVE", "LMPOP", "LOLWUT", "MIGRATE", "MONITOR", "MSETEX",
    "MULTI", "PFDEBUG", "PFSELFTEST", "PING", "PSYNC", "QUIT", "RANDOMKEY", "READONLY", "READWRITE",
    "REPLCONF", "REPLICAOF", "RESET", "ROLE", "SAVE", "SCAN", "SELECT", "SHUTDOWN", "SINTERCARD", "SLAVEOF",
    "SWAPDB", "SYNC", "TIME", "UNWATCH", "WAIT", "WAITAOF", "XREAD", "XREADGROUP", "ZDIFF", "ZINTER",
    "ZINTERCARD", "ZMPOP", "ZUNION",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_only_once() {
        assert_eq!(lookup(b"get"), Some(("GET", First::Key)));
        assert_eq!(lookup(b"GeorAdiusByMember_ro"), Some(("GEORADIUSBYMEMBER_RO", First::Key)));
        assert_eq!(lookup(b"ping"), Some(("PING", First::Other)));
        assert_eq!(lookup(b""), None);
        assert_eq!(lookup(&[b'A'; MAX_NAME + 1]), None);
        let tables: [&[&str]; 4] = [&WITH_KEY, &WITH_CHANNEL, &WITH_SUBCOMMAND, &PLAIN];
        for table in tables {
            assert!(table.is_sorted());
            for name in table {
                let homes = tables.iter().filter(|table| table.contains(name)).count();
                assert_eq!((homes, lookup(name.as_bytes()).map(|found| found.0)), (1, Some(*name)));
            }
        }
    }

    fn check(line: &str, expected: &str) {
        let mut words = line.split(' ').map(|word| Value::Bytes(word.as_bytes().to_vec()));
        words.next();
        let mut arguments: Vec<Value> = words.collect();
        mask(line.split(' ').next().unwrap_or(""), arguments.len() as u64, &mut arguments);
        let texts: Vec<String> = arguments
            .iter()
            .map(|argument| match argument {
                Value::Bytes(text) => String::from_utf8_lossy(text).into_owned(),
                other => {
                    assert_eq!(*other, MASKED);
                    "***".to_owned()
                }
            })
            .collect();
        assert_eq!(texts.join(" "), expected, "{line}");
    }

    #[test]
    fn what_acl_answers_shows_no_hash() {
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        let rules = bytes(&format!("user bee on #{hash} ~* +@all"));
        let mut reply = Value::List(vec![bytes("passwords"), Value::List(vec![bytes(hash)]), rules]);
        mask_acl(&mut reply);
        let masked = Value::List(vec![MASKED]);
        let expected = Value::List(vec![bytes("passwords"), masked, bytes("user bee on #*** ~* +@all")]);
        assert_eq!(reply, expected);
        let refused = "ERR Error in ACL SETUSER modifier '<a 'b': The password does not exist";
        let shown = "ERR Error in ACL SETUSER modifier '<***': The password does not exist";
        assert_eq!(mask_refused_rule(refused), shown);
        for error in ["ERR Error in ACL SETUSER modifier '+nope': Unknown command", "ERR unknown"] {
            assert_eq!(mask_refused_rule(error), error);
        }
    }

    #[test]
    fn secrets_are_masked() {
        check("AUTH pw", "***");
        check("AUTH user pw", "user ***");
        check("AUTH too many words", "*** *** ***");
        check("HELLO 3 AUTH user pw SETNAME me", "3 AUTH user *** SETNAME me");
        check("HELLO 3 setname auth auth user pw", "3 setname auth auth *** ***");
        check("CONFIG SET maxmemory 1 RequirePass pw", "SET maxmemory 1 RequirePass ***");
        check("CONFIG GET requirepass", "GET requirepass");
        check(
            "ACL SETUSER me on >pw <old #hash !hash ~key +@all",
            "SETUSER me on >*** <*** #*** !*** ~key +@all",
        );
        check("MIGRATE h 1 k 0 9 COPY AUTH2 user pw KEYS a", "h 1 k 0 9 COPY AUTH2 user *** KEYS a");
        check("MIGRATE h 1 k 0 9 auth pw", "h 1 k 0 9 auth ***");
        check("SENTINEL SET m auth-pass pw", "SET m auth-pass ***");
        check("SET AUTH pw", "AUTH pw");
    }
}
