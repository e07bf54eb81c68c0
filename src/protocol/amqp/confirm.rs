//! Publisher confirms (<https://www.rabbitmq.com/docs/confirms>): from `confirm.select` on, what a client publishes on
//! a channel is numbered from 1, and the server acknowledges the numbers, one or all up to one.

use super::{NAME, flag, number};
use crate::event::Cause;
use crate::protocol::Output;
use crate::protocol::exchange::{self, Half, Pending};
use std::collections::BTreeMap;

/// How many channels in confirm mode are followed at once. On others what is published is a record by itself.
const CHANNELS_MAX: usize = 4096;

/// What waits for being confirmed.
pub struct Confirms {
    /// The number of the newest message, of each channel in confirm mode.
    channels: BTreeMap<u16, u64>,
    waiting: Pending<(u16, u64)>,
}

impl Confirms {
    /// No channel is in confirm mode.
    pub fn new() -> Confirms {
        Confirms { channels: BTreeMap::new(), waiting: Pending::new(NAME) }
    }

    /// The client asks for confirms on a channel. To ask again changes nothing.
    pub fn begin(&mut self, channel: u16) {
        if self.channels.len() < CHANNELS_MAX {
            self.channels.entry(channel).or_insert(0);
        }
    }

    /// A message begins; its number, where the channel is in confirm mode.
    pub fn next(&mut self, channel: u16) -> Option<u64> {
        let newest = self.channels.get_mut(&channel)?;
        *newest += 1;
        Some(*newest)
    }

    /// A message came whole, and waits.
    pub fn wait(&mut self, channel: u16, tag: u64, message: Half, out: &mut dyn Output) {
        self.waiting.push((channel, tag), message, out);
    }

    /// The server confirms, or tells that it can't: one message, or all up to one. Each of several gets the confirm as
    /// its response.
    pub fn settle(&mut self, channel: u16, confirm: Half, out: &mut dyn Output) {
        let tag = number(&confirm, "delivery_tag").and_then(|tag| u64::try_from(tag).ok());
        let Some(tag) = tag else { return exchange::lone(NAME, confirm, false, out) };
        let multiple = flag(&confirm, "multiple");
        // 0 is all of them.
        let is_meant =
            |key: &(u16, u64)| key.0 == channel && (key.1 == tag || multiple && (tag == 0 || key.1 < tag));
        let mut is_used = false;
        while let Some((_, message)) = self.waiting.take_if(is_meant) {
            is_used = true;
            exchange::pair(NAME, message, confirm.clone(), out);
        }
        if !is_used {
            exchange::lone(NAME, confirm, false, out);
        }
    }

    /// Messages of the client were lost, and with them the count.
    pub fn lost(&mut self, cause: Cause, out: &mut dyn Output) {
        self.channels.clear();
        self.waiting.give_up(Some(cause), out);
    }

    /// A channel, or all of them, ended.
    pub fn end(&mut self, channel: Option<u16>, out: &mut dyn Output) {
        let Some(channel) = channel else {
            self.channels.clear();
            return self.close(out);
        };
        self.channels.remove(&channel);
        while let Some((_, message)) = self.waiting.take_if(|key| key.0 == channel) {
            exchange::unanswered(NAME, message, out);
        }
    }

    /// Nothing will be confirmed any more.
    pub fn close(&mut self, out: &mut dyn Output) {
        self.waiting.give_up(None, out);
    }
}
