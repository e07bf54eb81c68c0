//! Knows MQTT by its content, and where in a damaged stream the next packet begins.
//!
//! A packet has no mark: some are two bytes long. What tells is that many of them follow each other and each is
//! well-formed, so evidence is counted in bits: how unlikely it is that other bytes look like these.

use super::head::{self, Head, Kind, Not, Side, Version};
use super::packet::{self, Context, Packet};
use crate::event::Direction;
use crate::protocol::{Options, Resync, Sample, Verdict};

/// How many packets in a row are looked at.
const CHAIN_MAX: usize = 8;

/// Where in the bytes of a connection that was open before a packet is looked for.
const WINDOW: usize = 8 << 10;

/// How long the rest of a packet is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 16 << 10;

/// So few bytes of a packet tell little of it yet.
const SHORT: usize = 32;

/// Evidence that is proof.
const PROOF: u32 = 40;

/// Evidence that other protocols could also produce, but hardly do.
const ENOUGH: u32 = 24;

/// Evidence that a call or packet begins with what it seems to begin with.
const LIKELY: u32 = 16;

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    sample.judged_with_client(|client| assign(sample, client))
}

/// Judges it with the client in one direction.
fn assign(sample: &Sample<'_>, client: Direction) -> Verdict {
    let (ours, theirs) = (client.index(), client.reverse().index());
    let (sent, answered) = (sample.data[ours], sample.data[theirs]);
    if sample.from_start[ours] {
        return match (connect(sent), answered.is_empty()) {
            (Verdict::Maybe(_), false) if sent.is_empty() => Verdict::No("the server speaks first"),
            (verdict, _) => verdict,
        };
    }
    let (mut bits, mut is_begun, mut is_doubtful) = (0, false, false);
    for (side, data) in [(Side::Client, sent), (Side::Server, answered)] {
        let data = &data[..data.len().min(WINDOW)];
        let chain = longest(Some(side), None, data);
        match chain.end {
            _ if data.is_empty() => {}
            End::Broken => match search(Some(side), None, data) {
                Found::At(_, more) => bits += more,
                Found::Perhaps(_) | Found::Nowhere => is_doubtful = true,
            },
            _ if chain.whole == 0 && chain.bits < LIKELY => is_doubtful = true,
            _ => {
                bits += chain.bits;
                is_begun |= chain.whole == 0;
            }
        }
    }
    match bits {
        PROOF.. => Verdict::Match(95),
        // What is under way where a trace begins looks like anything, so the other side has to prove it.
        _ if is_doubtful => Verdict::No("what is no control packet"),
        ENOUGH.. => Verdict::Match(60),
        _ if is_begun => Verdict::Maybe("the rest of a control packet"),
        _ => Verdict::No("too little to tell control packets from anything else"),
    }
}

/// Judges what a client says first. Behind the fixed header come the name and the level of the protocol.
fn connect(data: &[u8]) -> Verdict {
    let Some(&first) = data.first() else { return Verdict::Maybe("no byte yet") };
    if first != 0x10 {
        return Verdict::No("begins with no CONNECT");
    }
    let head = match head::head(data, None) {
        Ok(head) => head,
        Err(Not::Yet) => return Verdict::Maybe("the rest of CONNECT"),
        Err(Not::Ever(..)) => return Verdict::No("the length of a CONNECT is none"),
    };
    let body = &data[head.size..];
    for name in [&b"\0\x04MQTT"[..], b"\0\x06MQIsdp"] {
        match body.strip_prefix(name) {
            Some([level, ..]) if level & 0x7f >= 3 && level & 0x7f < 16 => return Verdict::Match(100),
            Some([_, ..]) => return Verdict::No("CONNECT with a protocol level that there is not"),
            Some([]) => return Verdict::Maybe("the protocol level"),
            None if name.starts_with(body) => return Verdict::Maybe("the protocol name"),
            None => {}
        }
    }
    Verdict::No("CONNECT without the name of the protocol")
}

/// How a row of packets ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the bytes at hand.
    Exact,
    /// With the beginning of a packet; how many bytes of it are missing at least.
    Begun(u64),
    /// With what is no packet.
    Broken,
    /// It may go on; enough was looked at.
    Enough,
}

/// What packets in a row make of some bytes.
#[derive(Clone, Copy, Debug)]
struct Chain {
    whole: usize,
    bits: u32,
    end: End,
}

/// The best that the versions make of it.
fn longest(side: Option<Side>, version: Option<Version>, data: &[u8]) -> Chain {
    let rank = |chain: &Chain| (chain.end != End::Broken, chain.bits);
    match version {
        Some(version) => chain(side, version, data),
        None => {
            let [old, new] = [Version::V311, Version::V5].map(|version| chain(side, version, data));
            if rank(&new) > rank(&old) { new } else { old }
        }
    }
}

fn chain(side: Option<Side>, version: Version, data: &[u8]) -> Chain {
    let mut chain = Chain { whole: 0, bits: 0, end: End::Exact };
    let mut rest = data;
    while !rest.is_empty() {
        if chain.whole >= CHAIN_MAX {
            chain.end = End::Enough;
            break;
        }
        let head = match head::head(rest, Some(version)) {
            Ok(head) if head.is_shortest && can_send(side, head.kind, version) => head,
            Err(Not::Yet) => {
                chain.end = End::Begun(1);
                break;
            }
            _ => {
                chain.end = End::Broken;
                break;
            }
        };
        let whole = usize::try_from(head.length()).ok().filter(|&length| length <= rest.len());
        let body = &rest[head.size..whole.unwrap_or(rest.len())];
        let Some(packet) = plausible(head, body, whole.is_some(), version) else {
            chain.end = End::Broken;
            break;
        };
        chain.bits += bits(head, &packet, whole.is_some());
        let Some(length) = whole else {
            chain.end = End::Begun(head.length() - rest.len() as u64);
            break;
        };
        chain.whole += 1;
        rest = &rest[length..];
        // Nothing follows the last packet of a side.
        if head.kind == Kind::Disconnect && !rest.is_empty() {
            chain.end = End::Broken;
            break;
        }
    }
    chain
}

fn can_send(side: Option<Side>, kind: Kind, version: Version) -> bool {
    let is_5 = version == Version::V5;
    match (kind, side) {
        (_, None) => true,
        (Kind::Disconnect, Some(Side::Server)) => is_5,
        (kind, side) => kind.sender().is_none() || kind.sender() == side,
    }
}

/// A packet that a peer could send; of the beginning of one what can be read.
fn plausible(head: Head, body: &[u8], is_whole: bool, version: Version) -> Option<Packet> {
    let version = if head.kind == Kind::Connect { None } else { Some(version) };
    // What an alias stands for does not matter here.
    let context = Context { version, options: Options::default(), topic_of: &|_| None };
    packet::read(head, body, is_whole, &context).ok().filter(|packet| packet.is_plausible)
}

/// How many bits of it are what they have to be.
fn bits(head: Head, packet: &Packet, is_whole: bool) -> u32 {
    let named = u32::try_from(packet.named.min(32)).unwrap_or(0);
    let fixed = match head.kind {
        Kind::Publish => 4 + if packet.topic.is_some() { 8 } else { 0 },
        Kind::Connack if is_whole => 28,
        Kind::Subscribe | Kind::Unsubscribe => 16,
        Kind::Suback | Kind::Unsuback if is_whole => 20,
        _ if is_whole => 16,
        _ => 8,
    };
    // That a packet ends where the next begins says as much as its length has bits.
    let length = if is_whole && head.kind == Kind::Publish { 8 } else { 0 };
    fixed + length + named
}

/// Where a packet begins.
enum Found {
    /// Here; how sure that is.
    At(usize, u32),
    /// Perhaps here.
    Perhaps(usize),
    /// Nowhere in what is there.
    Nowhere,
}

/// Looks at every place: a payload can hold anything, so it takes several whole packets, with nothing behind them that
/// is none.
fn search(side: Option<Side>, version: Option<Version>, data: &[u8]) -> Found {
    let mut perhaps = None;
    for from in (0..data.len()).filter(|&from| head::may_begin(data[from])) {
        let chain = longest(side, version, &data[from..]);
        match chain.end {
            End::Broken => continue,
            End::Exact | End::Begun(_) | End::Enough if chain.whole >= 2 && chain.bits >= PROOF => {
                return Found::At(from, chain.bits);
            }
            End::Begun(missing) if missing > WAIT_MAX => continue,
            _ => {}
        }
        perhaps = perhaps.or(Some(from));
    }
    perhaps.map_or(Found::Nowhere, Found::Perhaps)
}

/// Looks for the next packet of that side, where it is known: where a call or packet begins, or where several follow
/// each other.
pub fn boundary(side: Option<Side>, version: Option<Version>, data: &[u8], at_event: bool) -> Resync {
    if at_event {
        let chain = longest(side, version, data);
        let is_likely = chain.whole > 0 && chain.bits >= LIKELY || chain.bits >= ENOUGH;
        if chain.end != End::Broken && is_likely {
            return Resync::Found(0);
        }
        // However long it says to be: a few bytes more will tell.
        if matches!(chain.end, End::Begun(_)) && data.len() <= SHORT {
            return Resync::Skip(0);
        }
    }
    match search(side, version, data) {
        Found::At(from, _) => Resync::Found(from),
        Found::Perhaps(from) => Resync::Skip(from),
        Found::Nowhere => Resync::Skip(data.len()),
    }
}
