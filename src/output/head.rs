//! What every text line about a connection begins with, so that one connection can be grepped:
//! `TIME COMM[PID] FD<SOCKET>`.

use super::escape::escape;
use super::paint::Paint;
use super::sockets::{Socket, SocketWithFd};
use super::time::{Clock, TimeOfDay};
use crate::conn::Info;
use crate::event::{Task, Timestamp};
use std::fmt;

/// The beginning of a line.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    time: TimeOfDay,
    paint: Paint,
    task: Option<&'a Task>,
    socket: SocketWithFd,
}

impl<'a> Head<'a> {
    /// For something that a task did to a socket.
    pub fn new(time: TimeOfDay, paint: Paint, task: Option<&'a Task>, socket: SocketWithFd) -> Head<'a> {
        Head { time, paint, task, socket }
    }

    /// For a connection, by the task and descriptor that used it last.
    pub fn of_connection(clock: &Clock, paint: Paint, info: &'a Info, time: Timestamp) -> Head<'a> {
        let socket = Socket::new(info.id, &info.open).with_fd(info.fd);
        Head::new(clock.time_of_day(time), paint, info.task.as_ref(), socket)
    }
}

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.paint.quiet(self.time))?;
        if let Some(task) = self.task {
            write!(f, " {}", escape(task.comm.as_bytes()))?;
            match task.tid {
                tid if tid == task.pid || tid == 0 => write!(f, "[{}]", task.pid)?,
                tid => write!(f, "[{}/{tid}]", task.pid)?,
            }
        }
        write!(f, " {}", self.paint.quiet(self.socket))
    }
}
