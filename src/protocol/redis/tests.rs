//! The parser under whole messages, cuts at every byte, random cuts, single holes and garbage.

mod detection;
mod driver;
mod live;
mod pairing;
mod random;
mod scenarios;
