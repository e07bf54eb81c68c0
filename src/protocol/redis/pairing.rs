//! Which reply answers which command.
//!
//! A server answers in the order of the commands, so pairing is counting, and counting survives no loss: one
//! command or reply that is not seen would shift every later pair. After a loss nothing is paired until the
//! count can start anew, see [`Pairing::may_restart`].
//!
//! Out of band, and never counted: RESP3 pushes, messages to a subscriber, the lines of MONITOR.

use super::detect::Side;
use super::element::Kind;
use super::reply::{Reply, Shape};
use crate::event::{Cause, Timestamp};
use crate::protocol::Output;
use crate::record::{Message, Record, Status, Value};
use std::collections::VecDeque;

/// How many commands may wait for their reply. Later ones are counted, so that pairing stays right, but not
/// kept.
pub const MAX_OWED: usize = 16_384;

/// After this long without a byte in either direction everything sent before is taken to be answered: in
/// nanoseconds. A server that takes longer for one command blocks all its clients.
const IDLE: u64 = 200_000_000;

/// What subscriptions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Channel,
    Pattern,
    Shard,
}

/// What a command means for its reply and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// One reply.
    None,
    /// A confirmation for each of so many channels.
    Subscribe(Class, u64),
    /// Likewise; without channels, one for each subscription that there is, but at least one.
    Unsubscribe(Class, u64),
    /// After the reply come lines out of band.
    Monitor,
    /// Back to the state of a new connection.
    Reset,
    /// Chooses the version of the protocol, if it names one.
    Hello {
        /// Whether that is RESP3.
        resp3: Option<bool>,
    },
    /// CLIENT REPLY OFF: no reply, and none to what follows.
    RepliesOff,
    /// CLIENT REPLY ON.
    RepliesOn,
    /// CLIENT REPLY SKIP: no reply, and none to the next command.
    SkipReply,
    /// The reply can show passwords.
    ConfigGet,
    /// The reply can show a password, hashes of them, or a rule that is refused with the password in it.
    Acl,
    /// The connection becomes a replication stream with the reply.
    Psync,
    /// Likewise, and the reply itself is no RESP.
    Sync,
}

/// A command that waits for its reply.
struct Owed {
    message: Message,
    summary: String,
    effect: Effect,
    truncated: bool,
}

impl Owed {
    /// No other command is answered so, but one that is the same.
    fn is_named_by(&self, reply: &Reply) -> bool {
        let has_channel = || match (self.message.field("channel"), &reply.channel) {
            (Some(Value::Bytes(own)), Some(channel)) => own == channel,
            _ => false,
        };
        match (reply.shape, self.effect) {
            (Shape::Confirmation { class, ends: false, .. }, Effect::Subscribe(of, _)) => {
                class == of && has_channel()
            }
            (Shape::Confirmation { class, ends: true, .. }, Effect::Unsubscribe(of, 1..)) => {
                class == of && has_channel()
            }
            (Shape::Plain, Effect::Reset) => reply.is_reset(),
            _ => false,
        }
    }
}

/// What is owed, in order.
enum Slot {
    Command(Box<Owed>),
    /// So many commands that were not kept.
    Dropped(u64),
    /// An unknown number of commands, or of replies, is missing here, for a cause if it is known.
    Hole(Option<Cause>),
}

/// Where something that the server sent belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It answers the command that is next, if that is known.
    Answer,
    /// It answers none, or is one more answer of a command that has one.
    OutOfBand,
    /// It answers a command that was not seen, and takes no part in counting.
    Orphan,
}

/// Why the count is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nothing was missed since the connection began.
    Counted,
    /// The client takes turns: it sends only when all before is answered. So far it did.
    Turns,
    /// The connection had been quiet for [`IDLE`].
    Idle,
}

/// Whether the client wants replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    On,
    Off,
    SkipNext,
}

/// The state of pairing on one connection.
pub struct Pairing {
    owed: VecDeque<Slot>,
    /// Commands among them.
    kept: usize,
    /// Commands that nothing will answer any more, whose records are still to be given out.
    given_up: Vec<Owed>,
    mode: Mode,
    trust: Trust,
    resp3: bool,
    monitoring: bool,
    /// Subscriptions by [`Class`].
    subscriptions: [u64; 3],
    /// Confirmations still to come for a command that is answered already.
    confirmations: Option<(Class, bool, u64)>,
    /// A reply was seen since nothing was owed last.
    answering: bool,
    /// The client has been seen to send in the middle of answers.
    overlaps: bool,
    /// Replies and commands since the last hole.
    since_hole: [u64; 2],
    last: Timestamp,
}

impl Pairing {
    /// The state at the start of a connection.
    pub fn new() -> Pairing {
        Pairing {
            owed: VecDeque::new(),
            kept: 0,
            given_up: Vec::new(),
            mode: Mode::On,
            trust: Trust::Counted,
            resp3: false,
            monitoring: false,
            subscriptions: [0; 3],
            confirmations: None,
            answering: false,
            overlaps: false,
            since_hole: [0; 2],
            last: Timestamp::default(),
        }
    }

    /// The connection was open before the first byte was seen. It is taken to have been quiet until it
    /// proves the contrary.
    pub fn started_late(&mut self) {
        self.trust = Trust::Turns;
    }

    /// Nothing was missed since the connection began.
    pub fn is_counted(&self) -> bool {
        self.trust == Trust::Counted
    }

    /// True where a reply whose first byte is `first` can only answer a command that is not seen yet.
    pub fn must_wait(&self, first: u8) -> bool {
        self.trust == Trust::Counted
            && self.owed.is_empty()
            && self.confirmations.is_none()
            && !self.monitoring
            && self.subscriptions == [0; 3]
            && first != b'>'
    }

    /// What the command means that the next reply answers.
    pub fn next_effect(&self) -> Effect {
        match self.owed.front() {
            Some(Slot::Command(owed)) => owed.effect,
            _ => Effect::None,
        }
    }

    /// A command was read.
    pub fn command(
        &mut self,
        message: Message,
        summary: String,
        effect: Effect,
        truncated: bool,
        out: &mut dyn Output,
    ) {
        self.flush(out);
        self.last = self.last.max(message.ended);
        let owed = Owed { message, summary, effect, truncated };
        if !self.expects_reply(effect) {
            return unanswered(owed, None, out);
        }
        self.since_hole[1] += 1;
        if self.kept < MAX_OWED {
            self.kept += 1;
            self.owed.push_back(Slot::Command(Box::new(owed)));
            return;
        }
        match self.owed.back_mut() {
            Some(Slot::Dropped(count)) => *count += 1,
            _ => self.owed.push_back(Slot::Dropped(1)),
        }
        unanswered(owed, Some(Cause::Limit), out);
    }

    /// A command was read without the words that tell what its reply is, or whether it gets one.
    pub fn fragment(&mut self, message: Message, summary: String, out: &mut dyn Output) {
        self.flush(out);
        let cause = message.causes.first().copied();
        let owed = Owed { message, summary, effect: Effect::None, truncated: true };
        unanswered(owed, Some(Cause::NoResponse), out);
        self.lost_commands(cause);
    }

    /// A reply was read.
    pub fn reply(&mut self, message: Message, reply: Reply, truncated: bool, out: &mut dyn Output) {
        self.flush(out);
        self.anchor(&reply, out);
        match self.place(&reply) {
            Place::OutOfBand => return lone(message, reply.summary, None, truncated, out),
            Place::Orphan => {
                let mut message = message;
                message.causes.extend(self.hole_cause());
                return lone(message, reply.summary, Some(Cause::NoRequest), truncated, out);
            }
            Place::Answer => {}
        }
        self.last = self.last.max(message.ended);
        self.since_hole[0] += 1;
        match self.owed.front_mut() {
            Some(Slot::Command(_)) => {
                let Some(Slot::Command(owed)) = self.owed.pop_front() else { return };
                self.kept -= 1;
                self.apply(owed.effect, &reply);
                pair(*owed, message, &reply.summary, truncated, out);
            }
            Some(Slot::Dropped(count)) => {
                *count -= 1;
                if *count == 0 {
                    self.owed.pop_front();
                }
                lone(message, reply.summary, Some(Cause::Limit), truncated, out);
            }
            Some(Slot::Hole(cause)) => {
                let mut message = message;
                message.causes.extend(*cause);
                lone(message, reply.summary, Some(Cause::NoRequest), truncated, out);
            }
            None => {
                // Nothing was owed: either this one came unasked (a refused connection), or the count is
                // wrong. Nothing tells which, so counting ends.
                lone(message, reply.summary, Some(Cause::NoRequest), truncated, out);
                self.hole(None, 1);
            }
        }
        self.answering = !self.owed.is_empty();
    }

    /// A message was read that takes no part in counting: it needs no reply, and is none.
    pub fn aside(
        &mut self,
        message: Message,
        summary: &str,
        side: Side,
        truncated: bool,
        out: &mut dyn Output,
    ) {
        self.flush(out);
        let summary = summary.to_owned();
        match side {
            Side::Replies => lone(message, summary, None, truncated, out),
            _ => unanswered(Owed { message, summary, effect: Effect::None, truncated }, None, out),
        }
    }

    /// Commands were lost.
    pub fn lost_commands(&mut self, cause: Option<Cause>) {
        self.hole(cause, 0);
    }

    /// Replies were lost. Any of the commands before can be among those that they answered.
    pub fn lost_replies(&mut self, cause: Option<Cause>) {
        self.give_up(cause);
        self.hole(cause, 1);
    }

    /// No more replies come.
    pub fn close(&mut self, out: &mut dyn Output) {
        self.give_up(None);
        self.flush(out);
    }

    /// `replies`: how many replies are known to have come since, lost or not.
    fn hole(&mut self, cause: Option<Cause>, replies: u64) {
        match self.owed.back_mut() {
            Some(Slot::Hole(known)) => *known = known.or(cause),
            _ => self.owed.push_back(Slot::Hole(cause)),
        }
        self.since_hole = [replies, 0];
        self.confirmations = None;
    }

    /// A command begins: learns from it whether the client takes turns, and starts the count anew where that
    /// can be done. Not to be called while it is open which replies came before the command.
    pub fn next_turn(&mut self, time: Timestamp, out: &mut dyn Output) {
        let has_hole = self.owed.iter().any(|slot| matches!(slot, Slot::Hole(_)));
        if !has_hole {
            if self.answering && !self.owed.is_empty() {
                self.overlaps = true;
                if self.trust == Trust::Turns {
                    out.step("pairing-lost", format_args!("the client does not take turns"));
                    self.give_up(None);
                    self.hole(None, 0);
                }
            }
            return;
        }
        let Some(trust) = self.may_restart(time) else { return };
        let cause = self.owed.iter().find_map(|slot| match slot {
            Slot::Hole(cause) => *cause,
            _ => None,
        });
        self.give_up(cause);
        self.trust = trust;
        out.step("pairing-restarts", format_args!("all before is answered"));
    }

    /// Whether all that was sent before a command at `time` must be answered by now, so that the next reply
    /// is its own. That is so
    ///
    /// - if the client takes turns (it has never been seen to send while only a part of what it had sent was
    ///   answered) and a reply came since the loss: that reply began the end of a turn, the command begins
    ///   the next. Most clients are like this, those that pipeline in batches too;
    /// - for all other clients, if the connection was quiet for [`IDLE`] and more replies than commands were
    ///   seen since the loss: one more at least is owed to what was lost.
    fn may_restart(&self, time: Timestamp) -> Option<Trust> {
        let [replies, commands] = self.since_hole;
        if !self.overlaps && replies > 0 {
            Some(Trust::Turns)
        } else if time.since(self.last) >= IDLE && replies > commands {
            Some(Trust::Idle)
        } else {
            None
        }
    }

    /// Gives up waiting for all that is owed.
    fn give_up(&mut self, cause: Option<Cause>) {
        for slot in std::mem::take(&mut self.owed) {
            if let Slot::Command(mut owed) = slot {
                add(&mut owed.message.causes, cause);
                self.given_up.push(*owed);
            }
        }
        self.kept = 0;
        self.answering = false;
    }

    /// Gives out the records of the commands that were given up.
    fn flush(&mut self, out: &mut dyn Output) {
        for owed in self.given_up.drain(..) {
            unanswered(owed, Some(Cause::NoResponse), out);
        }
    }

    /// Behind a loss, finds the command that a reply names: a confirmation has its channel, and RESET alone is answered by
    /// its name. What was sent before it is answered, so the count goes on from there. Several that are alike tell nothing.
    fn anchor(&mut self, reply: &Reply, out: &mut dyn Output) {
        // Most name none: what is owed may be long to look through.
        if !matches!(reply.shape, Shape::Confirmation { .. }) && !reply.is_reset() {
            return;
        }
        let Some(hole) = self.owed.iter().position(|slot| matches!(slot, Slot::Hole(_))) else { return };
        let mut named = self.owed.iter().enumerate().filter(|(_, slot)| match slot {
            Slot::Command(owed) => owed.is_named_by(reply),
            _ => false,
        });
        let (Some((at, _)), None) = (named.next(), named.next()) else { return };
        if at < hole {
            return;
        }
        let cause = self.hole_cause();
        for slot in self.owed.drain(..at) {
            if let Slot::Command(mut owed) = slot {
                self.kept -= 1;
                add(&mut owed.message.causes, cause);
                self.given_up.push(*owed);
            }
        }
        out.step("pairing-restarts", format_args!("a reply names its command"));
        self.flush(out);
    }

    /// Follows CLIENT REPLY.
    fn expects_reply(&mut self, effect: Effect) -> bool {
        let mode = self.mode;
        match (mode, effect) {
            (_, Effect::RepliesOff) => self.mode = Mode::Off,
            (_, Effect::RepliesOn) => self.mode = Mode::On,
            (Mode::On | Mode::SkipNext, Effect::SkipReply) => self.mode = Mode::SkipNext,
            (Mode::SkipNext, _) => self.mode = Mode::On,
            _ => {}
        }
        match effect {
            Effect::RepliesOff | Effect::SkipReply => false,
            Effect::RepliesOn => true,
            _ => mode == Mode::On,
        }
    }

    /// Tells what belongs to a command from what comes by itself. Keeps count of subscriptions.
    fn place(&mut self, reply: &Reply) -> Place {
        let out_of_band = match reply.shape {
            Shape::Push => true,
            Shape::MonitorLine => self.monitoring || self.owes_nothing_known(),
            Shape::MessageArray => {
                let subscribed = self.subscriptions != [0; 3]
                    || self.owes_nothing_known()
                    || matches!(self.next_effect(), Effect::Subscribe(..) | Effect::Unsubscribe(..));
                subscribed && !self.resp3
            }
            Shape::Confirmation { class, ends, remaining } => {
                return self.place_of_confirmation(reply.kind, class, ends, remaining);
            }
            Shape::Plain => false,
        };
        if out_of_band { Place::OutOfBand } else { Place::Answer }
    }

    fn place_of_confirmation(
        &mut self,
        kind: Option<Kind>,
        class: Class,
        ends: bool,
        remaining: u64,
    ) -> Place {
        let answers = match self.next_effect() {
            Effect::Subscribe(of, count) => (!ends && of == class).then_some(count),
            Effect::Unsubscribe(of, 0) => (ends && of == class).then_some(self.subscriptions[class as usize]),
            Effect::Unsubscribe(of, count) => (ends && of == class).then_some(count),
            _ => None,
        };
        // A foreign array that looks like a confirmation is the reply of the command it answers.
        let foreign = kind == Some(Kind::Array) && answers.is_none() && !self.owes_nothing_known();
        if foreign && self.confirmations.is_none() && self.subscriptions == [0; 3] {
            return Place::Answer;
        }
        self.count_subscription(class, ends, remaining);
        if self.confirms_rest(class, ends) {
            Place::OutOfBand
        } else if self.begins_confirmations(class, ends, answers) {
            Place::Answer
        } else if ends && class == Class::Shard {
            Place::OutOfBand // the server ends these by itself when the shard moves to another node
        } else {
            Place::Orphan
        }
    }

    /// Why commands before the next reply are missing, where they are and that is known.
    fn hole_cause(&self) -> Option<Cause> {
        match self.owed.front() {
            Some(Slot::Hole(cause)) => *cause,
            _ => None,
        }
    }

    fn owes_nothing_known(&self) -> bool {
        !matches!(self.owed.front(), Some(Slot::Command(_) | Slot::Dropped(_)))
    }

    /// The server tells how many subscriptions remain of its kind: channels and patterns together.
    fn count_subscription(&mut self, class: Class, ends: bool, remaining: u64) {
        let [channels, patterns, shards] = self.subscriptions;
        let before = if class == Class::Shard { shards } else { channels.saturating_add(patterns) };
        let count = &mut self.subscriptions[class as usize];
        if ends {
            *count = count.saturating_sub(u64::from(remaining < before)).min(remaining);
        } else {
            *count = count.saturating_add(u64::from(remaining > before)).max(u64::from(remaining > 0));
        }
    }

    /// One more confirmation of a command whose first one is paired already.
    fn confirms_rest(&mut self, class: Class, ends: bool) -> bool {
        match &mut self.confirmations {
            Some((of, of_end, left)) if *of == class && *of_end == ends => {
                *left -= 1;
                if *left == 0 {
                    self.confirmations = None;
                }
                true
            }
            _ => false,
        }
    }

    /// The first confirmation of the command that is answered next, which gets `answers` of them.
    fn begins_confirmations(&mut self, class: Class, ends: bool, answers: Option<u64>) -> bool {
        let Some(count) = answers else { return false };
        self.confirmations = (count > 1).then(|| (class, ends, count - 1));
        true
    }

    /// A command with an effect was answered.
    fn apply(&mut self, effect: Effect, reply: &Reply) {
        if matches!(reply.kind, Some(Kind::Error | Kind::BulkError)) {
            return;
        }
        match effect {
            Effect::Monitor => self.monitoring = true,
            Effect::Hello { resp3: Some(resp3) } => self.resp3 = resp3,
            Effect::Reset => {
                (self.resp3, self.monitoring) = (false, false);
                (self.subscriptions, self.confirmations) = ([0; 3], None);
            }
            _ => {}
        }
    }
}

/// A command without a reply; `cause` absent where the client wanted none.
fn unanswered(mut owed: Owed, cause: Option<Cause>, out: &mut dyn Output) {
    add(&mut owed.message.causes, cause);
    let status = match cause {
        _ if owed.truncated => Status::Truncated,
        None => Status::Complete,
        Some(_) => Status::NoResponse,
    };
    let request = Some(owed.message);
    out.record(Record {
        protocol: super::PROTOCOL.name,
        status,
        summary: owed.summary,
        request,
        response: None,
    });
}

/// A message of the server by itself; `cause` absent where it answers nothing by its nature.
fn lone(mut message: Message, summary: String, cause: Option<Cause>, truncated: bool, out: &mut dyn Output) {
    add(&mut message.causes, cause);
    let status = match cause {
        _ if truncated => Status::Truncated,
        None => Status::Complete,
        Some(_) => Status::NoRequest,
    };
    let response = Some(message);
    out.record(Record { protocol: super::PROTOCOL.name, status, summary, request: None, response });
}

fn pair(owed: Owed, response: Message, reply: &str, truncated: bool, out: &mut dyn Output) {
    let status = if owed.truncated || truncated { Status::Truncated } else { Status::Complete };
    out.record(Record {
        protocol: super::PROTOCOL.name,
        status,
        summary: format!("{} -> {reply}", owed.summary),
        request: Some(owed.message),
        response: Some(response),
    });
}

fn add(causes: &mut Vec<Cause>, cause: Option<Cause>) {
    causes.extend(cause.filter(|cause| !causes.contains(cause)));
}
