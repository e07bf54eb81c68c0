//! sockdbg finds where the bytes of a request got lost on their way to a record.
//!
//! Data flows one way: a [`source`] yields [`event`]s, [`conn`] reassembles them per connection and
//! direction, a [`protocol`] cuts frames and pairs them into [`record`]s, and the [`ledger`] keeps
//! account of every byte on the way. [`compare`] holds two ledgers against each other. ARCHITECTURE.md
//! has the whole picture and what each layer must not know.

#![warn(missing_docs)]

pub mod cli;
pub mod cmd;
pub mod compare;
pub mod conn;
pub mod event;
pub mod exit;
pub mod ledger;
pub mod output;
pub mod process;
pub mod protocol;
pub mod record;
pub mod recording;
pub mod redact;
pub mod signals;
pub mod source;
