//! Which answer belongs to which command.
//!
//! A server answers in the order of the commands. Commands with `noreply` have no answer, and those with the flag `q`
//! (quiet) have none where it would be the nominal one. So an answer belongs to the first command that it can answer, by
//! what it is, by the opaque token, the key and the flags that it has; the quiet commands before it are known then to
//! have been done silently. Errors name nothing: they go to a command that deserves one, else to the first that is not
//! quiet. Where quiet commands carry neither an opaque token nor `k`, and several can have an answer, which one has it is
//! not known: it is given to the first.
//!
//! Behind lost bytes nobody can count. Then an answer is paired if it names its command by opaque token or key; and all
//! are again, once a client that takes turns (never seen to send while a part of what it had sent was answered) begins
//! its next turn after an answer. A wrong pair is worse than none.

use super::NAME;
use super::answer::Code;
use super::command::Verb;
use super::meta;
use super::reply::Reply;
use super::request::Ask;
use crate::event::Cause;
use crate::protocol::Output;
use crate::protocol::exchange::{self, Half, PENDING_MAX};
use crate::record::{Field, Value};
use std::collections::VecDeque;

/// The commands of one connection that wait for their answers.
#[derive(Debug, Default)]
pub struct Pairing {
    waiting: VecDeque<(Ask, Half)>,
    /// Commands or answers were lost: so many of those that wait were there before, and why.
    hole: Option<(usize, Option<Cause>)>,
    /// Answers came since.
    answered_since: bool,
    /// A part of what waited was answered, and more waits.
    answering: bool,
    /// The client was seen to send meanwhile.
    overlaps: bool,
    /// The answer to a command whose data block is still coming: the server refuses it by its line.
    early: Option<Reply>,
}

impl Pairing {
    /// True where no answer is expected, and one that comes can't have been before its command.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.hole.is_none() && self.early.is_none()
    }

    /// A command that is answered, or may be.
    pub fn command(&mut self, ask: Ask, request: Half, out: &mut dyn Output) {
        self.next_turn(out);
        if let Some(early) = self.early.take() {
            if fits(&ask, &early) {
                return exchange::pair(NAME, request, early.half(Some(&ask)), out);
            }
            exchange::unasked(NAME, early.half(None), out);
        }
        if self.waiting.len() >= PENDING_MAX
            && let Some((oldest, mut half)) = self.pop_front()
        {
            if oldest.quiet {
                silent(half, "none seen", out);
            } else {
                half.add_cause(Cause::Limit);
                exchange::unanswered(NAME, half, out);
            }
        }
        self.waiting.push_back((ask, request));
    }

    /// An answer came. `sending`: a command is under way whose data block has not come to its end.
    pub fn answer(&mut self, reply: Reply, sending: bool, out: &mut dyn Output) {
        let known = self.hole.map_or(self.waiting.len(), |(before, _)| before);
        let found = self.find(&reply, 0..known).or_else(|| {
            let behind = self.waiting.iter().skip(known).position(|(ask, _)| names(ask, &reply));
            behind.map(|at| known + at)
        });
        if let Some(at) = found {
            return self.settle(at, reply, known, out);
        }
        if sending && self.early.is_none() && self.hole.is_none() {
            self.early = Some(reply);
            return;
        }
        self.answered_since = true;
        exchange::unasked(NAME, reply.half(None), out);
    }

    /// The command that an answer belongs to, among some of those that wait.
    fn find(&self, reply: &Reply, among: std::ops::Range<usize>) -> Option<usize> {
        let candidates = || among.clone().filter(|&at| fits(&self.waiting[at].0, reply));
        let loud = candidates().find(|&at| !self.waiting[at].0.quiet);
        if !reply.last.is_some_and(Code::is_error) {
            return candidates().next();
        }
        let deserving = candidates().find(|&at| self.waiting[at].0.malformed);
        match (deserving, loud) {
            (Some(deserving), Some(loud)) => Some(deserving.min(loud)),
            (deserving, loud) => deserving.or(loud).or(candidates().next()),
        }
    }

    /// Pairs an answer with a command; those before it are not answered any more.
    fn settle(&mut self, at: usize, reply: Reply, known: usize, out: &mut dyn Output) {
        let cause = self.hole.and_then(|(_, cause)| cause);
        for _ in 0..at {
            let Some((ask, half)) = self.pop_front() else { break };
            if ask.quiet {
                silent(half, "suppressed", out);
            } else {
                exchange::unanswered_because(NAME, half, cause, out);
            }
        }
        if at >= known {
            self.hole = None;
        }
        if let Some((ask, half)) = self.pop_front() {
            exchange::pair(NAME, half, reply.half(Some(&ask)), out);
        }
        self.answered_since = true;
        self.answering = self.waiting.iter().any(|(ask, _)| !ask.quiet);
    }

    fn pop_front(&mut self) -> Option<(Ask, Half)> {
        if let Some((before, _)) = &mut self.hole {
            *before = before.saturating_sub(1);
        }
        self.waiting.pop_front()
    }

    /// A command begins: learns from it whether the client takes turns, and counts anew where that can be done.
    fn next_turn(&mut self, out: &mut dyn Output) {
        if self.hole.is_none() {
            self.overlaps |= self.answering && self.waiting.iter().any(|(ask, _)| !ask.quiet);
            return;
        }
        if self.overlaps || !self.answered_since {
            return;
        }
        out.step("pairing-restarts", format_args!("all before is answered"));
        self.give_up(out);
    }

    /// All that waits becomes records.
    fn give_up(&mut self, out: &mut dyn Output) {
        let cause = self.hole.take().and_then(|(_, cause)| cause);
        if let Some(early) = self.early.take() {
            exchange::unasked(NAME, early.half(None), out);
        }
        for (ask, half) in self.waiting.drain(..) {
            match ask.verb {
                _ if ask.quiet => silent(half, "none seen", out),
                // It is done by then.
                Verb::Shutdown => exchange::lone(NAME, half, true, out),
                _ => exchange::unanswered_because(NAME, half, cause, out),
            }
        }
        (self.answering, self.answered_since) = (false, false);
    }

    /// Commands were lost. Those before them are still answered in order.
    pub fn lost_commands(&mut self, cause: Cause) {
        let before = self.hole.map_or(self.waiting.len(), |(before, _)| before);
        self.hole = Some((before, Some(cause)));
        self.answered_since = false;
    }

    /// Answers were lost: any of the commands before can be among those that they answered.
    pub fn lost_answers(&mut self, cause: Cause, out: &mut dyn Output) {
        self.hole = Some((0, Some(cause)));
        self.give_up(out);
        self.hole = Some((0, Some(cause)));
        self.answered_since = true;
    }

    /// No more answers come.
    pub fn close(&mut self, out: &mut dyn Output) {
        self.give_up(out);
    }
}

/// A quiet command without an answer.
fn silent(mut half: Half, answer: &'static str, out: &mut dyn Output) {
    half.message.fields.push(Field::new("answer", Value::Text(answer.into())));
    if answer == "suppressed" {
        half.summary.push_str(" -> suppressed");
    }
    exchange::lone(NAME, half, true, out);
}

/// Whether an answer can be that to a command.
fn fits(ask: &Ask, reply: &Reply) -> bool {
    let verb = ask.verb;
    let Some(last) = reply.last else { return begins(ask, reply) };
    let arithmetic = matches!(verb, Verb::Incr | Verb::Decr);
    match last {
        code if code.is_error() => deserves(ask, &reply.text) && (reply.first == code || begins(ask, reply)),
        Code::End if reply.first == Code::End => {
            verb.retrieves() || matches!(verb, Verb::Stats | Verb::LruCrawler | Verb::Unknown)
        }
        Code::End => begins(ask, reply),
        Code::Stored | Code::NotStored => verb.stores(),
        Code::Exists => verb == Verb::Cas,
        Code::NotFound => arithmetic || matches!(verb, Verb::Cas | Verb::Delete | Verb::Touch),
        Code::Deleted => verb == Verb::Delete,
        Code::Touched => verb == Verb::Touch,
        Code::Number => arithmetic,
        Code::Reset => verb == Verb::Stats,
        Code::Version => verb == Verb::Version,
        Code::Mn => verb == Verb::MetaNoop,
        Code::Me => verb == Verb::MetaDebug && is_key(ask, reply.key.as_deref()),
        // Servers with `-o meta_response_old` say OK for HD.
        Code::Ok if verb.is_meta() => meta_fits(ask, reply, Code::Hd),
        Code::Ok => {
            let answers = [Verb::FlushAll, Verb::Verbosity, Verb::Admin, Verb::LruCrawler, Verb::Watch];
            answers.contains(&verb) || matches!(verb, Verb::Stats | Verb::Unknown)
        }
        Code::En if reply.first == Code::Listed => verb == Verb::LruCrawler,
        code if code.is_meta() => meta_fits(ask, reply, code),
        _ => matches!(
            verb,
            Verb::Admin | Verb::LruCrawler | Verb::Watch | Verb::Stats | Verb::Shutdown | Verb::Unknown
        ),
    }
}

/// Whether the items or the list that an answer begins with are what a command asks for.
fn begins(ask: &Ask, reply: &Reply) -> bool {
    match reply.first {
        Code::Value => {
            let is_named = reply.hits.first().is_some_and(|key| ask.keys.contains(key));
            ask.verb.retrieves() && (is_named || !ask.keeps_all())
        }
        Code::Stat => ask.verb == Verb::Stats,
        _ => matches!(ask.verb, Verb::Stats | Verb::LruCrawler | Verb::Unknown),
    }
}

/// Whether an error can be that of a command, by its words.
fn deserves(ask: &Ask, text: &str) -> bool {
    let says = |words: &str| text.contains(words);
    if says("object too large") || says("storing object") || says("bad data chunk") {
        ask.verb.stores() || ask.verb == Verb::MetaSet
    } else if says("increment or decrement") {
        matches!(ask.verb, Verb::Incr | Verb::Decr | Verb::MetaArithmetic)
    } else {
        true
    }
}

/// Whether an answer with this code can be that to a meta command.
fn meta_fits(ask: &Ask, reply: &Reply, code: Code) -> bool {
    let verb = ask.verb;
    let gives_value = ask.has(b'v') && matches!(verb, Verb::MetaGet | Verb::MetaArithmetic);
    let stores = verb == Verb::MetaSet;
    let is_own = match code {
        Code::Va => gives_value,
        Code::Hd => verb.is_meta() && !gives_value && !matches!(verb, Verb::MetaNoop | Verb::MetaDebug),
        Code::En => matches!(verb, Verb::MetaGet | Verb::MetaDebug),
        Code::Nf => matches!(verb, Verb::MetaDelete | Verb::MetaArithmetic) || stores && ask.has(b'C'),
        Code::Ex => ask.has(b'C') && (stores || matches!(verb, Verb::MetaDelete | Verb::MetaArithmetic)),
        // A plain set stores; only a mode, or an item to be created, makes a condition.
        _ => stores && ask.has(b'M') || verb == Verb::MetaArithmetic && ask.has(b'N'),
    };
    let nominal = match verb {
        Verb::MetaGet => code == Code::En,
        Verb::MetaArithmetic => matches!(code, Code::Hd | Code::Va),
        _ => code == Code::Hd,
    };
    let unasked = meta::UNASKED.iter().fold(0u128, |bits, letter| bits | 1 << letter);
    let were_asked = reply.flags & !unasked & !ask.flags == 0;
    // Older servers leave out all flags where nothing was found or stored. Of a quiet command it takes its name.
    let has_none = reply.flags == 0 && !ask.quiet && !matches!(code, Code::Va | Code::Hd);
    let same_opaque = reply.opaque == ask.opaque || has_none;
    let same_key =
        if ask.has(b'k') { is_key(ask, reply.key.as_deref()) || has_none } else { reply.key.is_none() };
    is_own && !(ask.quiet && nominal) && were_asked && same_opaque && same_key
}

/// Whether a key in an answer is that of a command; in base64 it may be written otherwise.
fn is_key(ask: &Ask, key: Option<&[u8]>) -> bool {
    let (Some(asked), Some(key)) = (ask.keys.first(), key) else { return false };
    asked == key
        || ask.has(b'b') && meta::decoded(asked).is_some_and(|asked| meta::decoded(key) == Some(asked))
}

/// Whether an answer names its command.
fn names(ask: &Ask, reply: &Reply) -> bool {
    let by_opaque = reply.opaque.is_some() && reply.opaque == ask.opaque;
    let by_key = reply.key.is_some() || reply.first == Code::Value;
    fits(ask, reply) && (by_opaque || by_key)
}
