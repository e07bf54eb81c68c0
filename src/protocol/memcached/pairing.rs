//! Which answer belongs to which command.
//!
//! A server answers in the order of the commands. Commands with `noreply` have no answer, and those with the flag `q`
//! (quiet) have none where it would be the nominal one. So an answer belongs to the first command that it can answer, by
//! what it is, by the opaque token, the key and the flags that it has; the quiet commands before it are known then to
//! have been done silently. Errors name nothing: they go to a command that deserves one, else to the first that is not
//! quiet. Where quiet commands carry neither an opaque token nor `k`, and several can have an answer, it waits for what
//! comes behind it ([`quiet`]). If that does not tell either, both say so.
//!
//! Behind lost bytes nobody can count. Then an answer is paired if it names its command by opaque token or key; and all
//! are again, once a client that takes turns (never seen to send while a part of what it had sent was answered) begins
//! its next turn after an answer. A wrong pair is worse than none.

use super::NAME;
use super::answer::Code;
use super::command::Verb;
use super::meta;
use super::quiet::{self, HELD_MAX};
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
    /// Answers that several quiet commands can have, in order; from which command on the next can belong.
    held: Vec<Reply>,
    held_from: usize,
    /// The client was seen to begin anew when all was answered.
    took_turns: bool,
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
        if self.waiting.len() >= PENDING_MAX && !self.held.is_empty() {
            self.lost_answers(Cause::Limit, out);
        }
        if self.waiting.len() >= PENDING_MAX
            && let Some((oldest, half)) = self.pop_front()
        {
            if oldest.quiet {
                silent(half, "none seen", out);
            } else {
                exchange::unanswered_because(NAME, half, Some(Cause::Limit), out);
            }
        }
        self.waiting.push_back((ask, request));
    }

    /// An answer came. `sending`: a command is under way whose data block has not come to its end.
    pub fn answer(&mut self, reply: Reply, sending: bool, out: &mut dyn Output) {
        let known = self.hole.map_or(self.waiting.len(), |(before, _)| before);
        if let Some(first) = self.doubtful(&reply, known) {
            return self.hold(first, reply, known, out);
        }
        let found = self.find(&reply, self.held_from..known).or_else(|| {
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

    /// The first of several commands that an answer can belong to, where it is not known to which.
    fn doubtful(&self, reply: &Reply, known: usize) -> Option<usize> {
        let is_named = reply.opaque.is_some() || reply.key.is_some();
        if is_named || reply.last.is_some_and(Code::is_error) {
            return None;
        }
        let mut candidates = (self.held_from..known).filter(|&at| fits(&self.waiting[at].0, reply));
        let (first, second) = (candidates.next()?, candidates.next());
        let is_open = !self.held.is_empty() || self.waiting[first].0.quiet;
        (is_open && second.is_some()).then_some(first)
    }

    /// Keeps an answer until it is known whose it is. Behind a loss nothing will tell.
    fn hold(&mut self, first: usize, reply: Reply, known: usize, out: &mut dyn Output) {
        self.answered_since = true;
        if self.hole.is_some() {
            let candidates = (first..known).filter(|&at| fits(&self.waiting[at].0, &reply)).count();
            return ambiguous(reply, candidates, out);
        }
        if self.held.len() >= HELD_MAX {
            self.lost_answers(Cause::Limit, out);
            return ambiguous(reply, HELD_MAX, out);
        }
        self.held.push(reply);
        self.held_from = first + 1;
    }

    /// The first `count` commands are done: each becomes a record, with the answer among those that were kept that can
    /// only be its own.
    fn finish_first(&mut self, count: usize, all_answered: bool, cause: Option<Cause>, out: &mut dyn Output) {
        let held = std::mem::take(&mut self.held);
        self.held_from = 0;
        let commands: Vec<&Ask> = self.waiting.iter().take(count).map(|(ask, _)| ask).collect();
        let assigned = quiet::assign(&commands, &held, all_answered, fits);
        let mut held: Vec<Option<Reply>> = held.into_iter().map(Some).collect();
        for (reply, options) in held.iter_mut().zip(&assigned.options) {
            match options.len() {
                1 => {}
                0 => {
                    reply.take().into_iter().for_each(|reply| exchange::unasked(NAME, reply.half(None), out))
                }
                count => reply.take().into_iter().for_each(|reply| ambiguous(reply, count, out)),
            }
        }
        for at in 0..count {
            let Some((ask, half)) = self.pop_front() else { break };
            let answer = assigned.answer_of(at).and_then(|answer| held[answer].take());
            match (ask.verb, answer) {
                (_, Some(reply)) => exchange::pair(NAME, half, reply.half(Some(&ask)), out),
                _ if assigned.is_doubtful(at) => silent(half, "unknown", out),
                _ if ask.quiet => silent(half, if all_answered { "suppressed" } else { "none seen" }, out),
                // It is done by then.
                (Verb::Shutdown, _) => exchange::lone(NAME, half, true, out),
                _ => exchange::unanswered_because(NAME, half, cause, out),
            }
        }
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
        self.finish_first(at, true, cause, out);
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
            self.took_turns |= self.answered_since && self.waiting.is_empty();
            if !self.held.is_empty() && self.took_turns && !self.overlaps {
                out.step("turn", format_args!("all before is answered"));
                return self.finish_first(self.waiting.len(), true, None, out);
            }
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
        self.finish_first(self.waiting.len(), false, cause, out);
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

/// An answer of which it is not known whose it is.
fn ambiguous(reply: Reply, candidates: usize, out: &mut dyn Output) {
    let mut half = reply.half(None);
    let request = format!("unknown: one of {candidates} commands, some of them quiet");
    half.message.fields.push(Field::new("request", Value::Text(request.into())));
    exchange::unasked(NAME, half, out);
}

/// A quiet command without an answer, or without one that is known to be its own.
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
