//! Knows memcached by its content, and where in a damaged stream the next message begins.
//!
//! Data blocks can hold text that looks like messages, so elsewhere than at the beginning of a call or packet it takes
//! several messages in a row, or one whose data block ends where its length says; and nothing may follow that is none.

use super::answer::{self, Code, Line};
use super::binary;
use super::command::{self, Read, Verb};
use crate::event::Direction;
use crate::protocol::judgement::{Judgement, behind_line_ends};
use crate::protocol::{Resync, Sample, Verdict};

/// How many messages in a row are looked at.
const CHAIN_MAX: usize = 8;

/// How long the rest of a message is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 64 << 10;

/// How many bytes of each direction are looked at to judge a connection.
const WINDOW: usize = 16 << 10;

/// Messages in a row.
#[derive(Clone, Debug)]
struct Chain<T> {
    /// Those whose line is whole, of the last one perhaps not the data block.
    found: Vec<T>,
    /// How many are whole.
    whole: usize,
    /// How many of them have a data block, which ends where it should.
    blocks: usize,
    /// None follows them.
    broken: bool,
    /// The last one is this long, and not whole.
    begun: Option<u64>,
    /// The beginning of a line follows.
    partial: bool,
}

/// What a chain is to be told of a line: its length, and how long it is with its data block.
type Extent = (u64, bool);

fn chain<'a, T>(data: &'a [u8], read: impl Fn(&'a [u8]) -> Read<(T, Extent)>) -> Chain<T> {
    let mut chain =
        Chain { found: Vec::new(), whole: 0, blocks: 0, broken: false, begun: None, partial: false };
    let mut rest = data;
    while !rest.is_empty() && chain.whole < CHAIN_MAX {
        let Read::Line((message, (length, has_block))) = read(rest) else {
            chain.broken = matches!(read(rest), Read::No(_));
            chain.partial = !chain.broken;
            break;
        };
        let end = usize::try_from(length).ok().filter(|&end| end <= rest.len());
        if has_block && end.is_some_and(|end| !rest[..end].ends_with(b"\r\n")) {
            chain.broken = true;
            break;
        }
        chain.found.push(message);
        let Some(end) = end else {
            chain.begun = Some(length);
            break;
        };
        chain.whole += 1;
        chain.blocks += usize::from(has_block);
        rest = &rest[end..];
    }
    chain
}

/// A command: which one it is, and whether an answer must come.
type Asked = (Verb, bool);

fn commands(data: &[u8]) -> Chain<Asked> {
    chain(data, |data| match command::read(data) {
        Read::Line(command) if command.malformed || is_http(&command) => Read::No(command.length),
        Read::Line(command) => {
            let loud = !command.noreply && !command.is_quiet() && command.verb != Verb::Quit;
            Read::Line(((command.verb, loud), (command.whole(), command.block.is_some())))
        }
        Read::Begun if command::can_begin(data) => Read::Begun,
        Read::Begun => Read::No(1),
        Read::No(proof) => Read::No(proof),
    })
}

/// A request line of HTTP.
fn is_http(command: &command::Command<'_>) -> bool {
    command.words.last().is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn answers(data: &[u8]) -> Chain<Code> {
    chain(data, |data| match answer::read(data) {
        // Any protocol has words in capitals.
        Read::Line(line) if line.code == Code::Other => Read::No(line.length),
        Read::Line(line) => Read::Line((line.code, (line.whole(), line.block.is_some()))),
        Read::Begun => Read::Begun,
        Read::No(proof) => Read::No(proof),
    })
}

/// A server that refuses a connection says so unasked.
pub fn is_refusal(line: &Line<'_>) -> bool {
    line.text == b"ERROR Too many open connections"
}

/// Whether bytes are messages of the binary protocol.
pub fn is_binary(data: &[u8]) -> bool {
    [false, true].iter().any(|&answer| matches!(binary::chain(data, answer), binary::Chain::Headers(_)))
}

/// Whether commands begin here that a server knows, with nothing else behind them.
pub fn begins_commands(data: &[u8]) -> bool {
    let asked = commands(data);
    !asked.broken && asked.found.first().is_some_and(|&(verb, _)| verb != Verb::Unknown)
}

/// Whether answers begin here; `all`: and nothing else is behind them.
pub fn begins_answers(data: &[u8], all: bool) -> bool {
    let replies = answers(data);
    !(replies.found.is_empty() || all && replies.broken)
}

fn judge<T>(chain: &Chain<T>, at_event: bool) -> Judgement {
    if chain.broken {
        return Judgement::No;
    }
    let sure = chain.blocks > 0 || chain.whole >= 2;
    let likely = at_event && !chain.found.is_empty();
    match chain.begun {
        _ if sure || likely => Judgement::Yes,
        Some(length) if length > WAIT_MAX => Judgement::No,
        // The next call or packet tells by itself where it begins; and an answer that is held back until then would be
        // read behind the command that comes before it.
        None if !chain.partial => Judgement::No,
        _ => Judgement::Wait,
    }
}

/// Looks for the next message of a side, or of both where it is not known which one it is.
pub fn boundary(from_client: Option<bool>, data: &[u8], at_event: bool) -> Resync {
    behind_line_ends(data, at_event, |data, at_event| {
        let client = from_client != Some(false);
        let server = from_client != Some(true);
        let commands = client.then(|| judge(&commands(data), at_event));
        let answers = server.then(|| judge(&answers(data), at_event));
        Judgement::best(commands.into_iter().chain(answers))
    })
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    sample.judged_with_client(|client| assign(sample, client))
}

/// Judges it with the client in one direction.
fn assign(sample: &Sample<'_>, client: Direction) -> Verdict {
    let ends = [client.index(), client.reverse().index()];
    let [sent, answered] = ends.map(|end| &sample.data[end][..sample.data[end].len().min(WINDOW)]);
    let [from_start, answered_from_start] = ends.map(|end| sample.from_start[end]);
    if sent.first() == Some(&binary::MAGIC[0]) || answered.first() == Some(&binary::MAGIC[1]) {
        return judge_binary(sent, answered);
    }
    if from_start && answered_from_start {
        return judge_start(sent, answered);
    }
    let inside =
        |data: &[u8], from_client: bool, from_start: bool| match boundary(Some(from_client), data, true) {
            Resync::Found(at) if at == 0 || !from_start => Some(at),
            _ => None,
        };
    let sent = inside(sent, true, from_start).map(|at| weight_of_commands(&commands(&sent[at..])));
    let answered =
        inside(answered, false, answered_from_start).map(|at| weight_of_answers(&answers(&answered[at..])));
    match (sent, answered) {
        (Some(sent), Some(answered)) => Verdict::Match(sent.max(answered).saturating_add(10).min(95)),
        (Some(weight), None) | (None, Some(weight)) if weight >= 50 => Verdict::Match(weight),
        _ => Verdict::No("neither commands nor answers begin here"),
    }
}

fn judge_binary(sent: &[u8], answered: &[u8]) -> Verdict {
    use binary::Chain;
    match (binary::chain(sent, false), binary::chain(answered, true)) {
        (Chain::Headers(sent), Chain::Headers(answered)) => {
            let same = (sent.opcode, sent.opaque) == (answered.opcode, answered.opaque);
            Verdict::Match(if same { 100 } else { 90 })
        }
        (Chain::Headers(_), _) if answered.is_empty() => Verdict::Match(90),
        (_, Chain::Headers(_)) if sent.is_empty() => Verdict::Match(90),
        (Chain::Headers(_), Chain::Begun) => Verdict::Match(90),
        (Chain::Begun, _) if answered.is_empty() => Verdict::Maybe("a header of the binary protocol"),
        (_, Chain::Begun) if sent.is_empty() => Verdict::Maybe("a header of the binary protocol"),
        _ => Verdict::No("no header of the binary protocol"),
    }
}

/// Judges a connection that is seen from its first byte on.
fn judge_start(sent: &[u8], answered: &[u8]) -> Verdict {
    if sent.is_empty() && !answered.is_empty() {
        return match answer::read(answered) {
            Read::Line(line) if is_refusal(&line) => Verdict::Match(90),
            _ => Verdict::No("the server speaks first"),
        };
    }
    let asked = commands(sent);
    if asked.found.is_empty() {
        return match asked.broken {
            true => Verdict::No("no command begins here"),
            false => Verdict::Maybe("the rest of a command"),
        };
    }
    let weight = weight_of_commands(&asked);
    let alone = |missing| if weight >= 50 { Verdict::Match(weight) } else { Verdict::Maybe(missing) };
    if answered.is_empty() {
        return alone("the answer");
    }
    let replies = answers(answered);
    let first = match replies.found.first() {
        Some(&first) => first,
        None if replies.broken => return Verdict::No("no answer begins here"),
        None => return alone("the rest of the answer"),
    };
    // Commands without an answer do not hide the one that has it; behind too many of them any may have.
    let loud = asked.found.iter().position(|&(_, loud)| loud).unwrap_or(asked.found.len() - 1);
    let fitting = asked.found[..=loud].iter().filter_map(|&(verb, _)| weight_of_pair(verb, first)).max();
    let hidden = !asked.found[loud].1 && asked.whole == CHAIN_MAX;
    match fitting {
        Some(pair) => Verdict::Match(pair.max(weight)),
        None if hidden => Verdict::Match(weight),
        None => Verdict::No("the answer is none to the command"),
    }
}

/// How sure commands make without their answers.
fn weight_of_commands(asked: &Chain<Asked>) -> u8 {
    let one = |verb: Verb| match verb {
        // Redis has these, too.
        Verb::Get | Verb::Touch | Verb::Quit | Verb::Shutdown | Verb::Watch => 40,
        Verb::Version | Verb::Admin | Verb::Unknown => 40,
        verb if verb.stores() => 75,
        // HTTP/0.9 and beanstalkd have words like these.
        Verb::Delete | Verb::Stats => 55,
        _ => 60,
    };
    let best = asked.found.iter().map(|&(verb, _)| one(verb)).max().unwrap_or(0);
    match asked {
        Chain { broken: true, .. } => best.min(40),
        Chain { blocks: 1.., .. } => 92,
        _ => best,
    }
}

/// How sure answers make without their commands.
fn weight_of_answers(replies: &Chain<Code>) -> u8 {
    let one = |code: Code| match code {
        Code::Value
        | Code::Stored
        | Code::NotStored
        | Code::Touched
        | Code::ClientError
        | Code::ServerError => 60,
        Code::Stat | Code::Deleted | Code::Va => 50,
        _ => 20,
    };
    let best = replies.found.iter().map(|&code| one(code)).max().unwrap_or(0);
    match replies {
        Chain { broken: true, .. } => best.min(40),
        Chain { blocks: 1.., .. } => 92,
        Chain { whole: 2.., .. } if best >= 50 => 75,
        _ => best,
    }
}

/// How sure a command with its answer makes; `None`: it is not its answer.
fn weight_of_pair(verb: Verb, code: Code) -> Option<u8> {
    let arithmetic = matches!(verb, Verb::Incr | Verb::Decr);
    let lists = matches!(verb, Verb::Stats | Verb::LruCrawler);
    let (fits, weight) = match code {
        Code::Value => (verb.retrieves(), 98),
        Code::Stat => (verb == Verb::Stats, 98),
        Code::Listed => (lists, 90),
        Code::End => (verb.retrieves() || lists, 90),
        Code::Stored | Code::NotStored => (verb.stores(), 98),
        Code::Exists => (verb == Verb::Cas, 98),
        Code::NotFound => (arithmetic || matches!(verb, Verb::Cas | Verb::Delete | Verb::Touch), 85),
        Code::Deleted => (verb == Verb::Delete, 85),
        Code::Touched => (verb == Verb::Touch, 85),
        Code::Number => (arithmetic, 90),
        Code::Reset => (verb == Verb::Stats, 95),
        Code::Version => (verb == Verb::Version, 98),
        Code::Ok => (!verb.stores() && !verb.retrieves() && !arithmetic, 75),
        Code::Va => (matches!(verb, Verb::MetaGet | Verb::MetaArithmetic), 98),
        Code::Mn => (verb == Verb::MetaNoop, 98),
        Code::Me => (verb == Verb::MetaDebug, 98),
        code if code.is_meta() => (verb.is_meta(), 92),
        Code::ClientError | Code::ServerError => (true, 95),
        Code::Error => (true, 75),
        _ => (matches!(verb, Verb::Watch | Verb::Admin | Verb::LruCrawler), 75),
    };
    fits.then_some(weight)
}
