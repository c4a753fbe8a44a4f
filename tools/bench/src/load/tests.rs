//! The generator against servers whose faults are known.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::mix::{Mix, Paths};
use crate::origin;

fn script(mix: Mix) -> Script {
    let paths = Paths {
        host: "localhost".into(),
        modern: "/mcp".into(),
        legacy: "/legacy".into(),
        token: "none".into(),
    };
    Script::new(mix, &paths)
}

fn origin() -> SocketAddr {
    let address = (Ipv4Addr::LOCALHOST, tests_fixtures::stack::free_port().unwrap()).into();
    thread::spawn(move || origin::serve(address, 3));
    let up = || TcpStream::connect(address).ok();
    tests_fixtures::stack::wait_until(Duration::from_secs(10), "origin", up).unwrap();
    address
}

/// A server that answers each request with what `answer` makes of it; one connection after another.
fn server(mut answer: impl FnMut(u64, &str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut number = 0;
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut piece = [0_u8; 65_536];
            while let Ok(count @ 1..) = socket.read(&mut piece) {
                let request = String::from_utf8_lossy(&piece[..count]).into_owned();
                let text = answer(number, &request);
                number += 1;
                if socket.write_all(text.as_bytes()).is_err() || text.contains("close") {
                    break;
                }
            }
        }
    });
    address
}

fn id_of(request: &str) -> &str {
    let (_, rest) = request.split_once("\"id\":").unwrap();
    rest.split([',', '}']).next().unwrap()
}

fn right(request: &str) -> String {
    let body = format!("{{\"id\":{},\"result\":\"O-100231\"}}", id_of(request));
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn every_job_of_an_open_loop_is_sent_and_answered() {
    for mix in [Mix::Call, Mix::Churn] {
        let mut load = Load::new(origin(), None, 4).unwrap();
        load.warm_up(&script(mix)).unwrap();
        let tally = load.run(&script(mix), Pace::Open { per_second: 500 }, 200).unwrap();
        assert_eq!((tally.done, tally.failed, tally.unsent), (100, 0, 0), "{tally:?}");
        assert_eq!(tally.latency().unwrap().len(), 100);
    }
}

#[test]
fn a_closed_loop_keeps_each_connection_busy() {
    let mut load = Load::new(origin(), None, 2).unwrap();
    let tally = load.run(&script(Mix::Call), Pace::Closed, 100).unwrap();
    assert!(tally.done > 2, "{tally:?}");
    assert_eq!(tally.failed, 0, "{tally:?}");
}

/// One answer comes 100 ms late; a generator that waits for it would see one slow call.
#[test]
fn a_stall_is_charged_to_every_call_that_was_due() {
    // Nobody ever sends here: the time-out is the stall.
    let (_kept, never) = mpsc::channel::<()>();
    let address = server(move |number, request| {
        if number == 10 {
            let _ = never.recv_timeout(Duration::from_millis(100));
        }
        right(request)
    });
    let mut load = Load::new(address, None, 1).unwrap();
    let tally = load.run(&script(Mix::Call), Pace::Open { per_second: 1_000 }, 300).unwrap();
    assert_eq!((tally.done, tally.failed), (300, 0), "{tally:?}");
    let slow = tally.latency().unwrap().count_between(10_000_000, u64::MAX);
    assert!(slow >= 80, "{slow} slow calls");
}

#[test]
fn wrong_answers_and_lost_connections_are_failures() {
    let address = server(|number, request| match number {
        0 => right(request),
        1 => right(request).replace("200 OK", "500 Broken"),
        2 => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        _ => right(request),
    });
    let mut load = Load::new(address, None, 1).unwrap();
    let tally = load.run(&script(Mix::Call), Pace::Open { per_second: 100 }, 50).unwrap();
    assert_eq!((tally.done, tally.failed, tally.reconnects), (3, 2, 1), "{tally:?}");
    assert!(tally.first_failure.unwrap().contains("status 500"));
}

#[test]
fn an_announced_close_is_no_failure() {
    let address = server(|number, request| match number {
        1 => right(request).replace("OK\r\n", "OK\r\nConnection: close\r\n"),
        _ => right(request),
    });
    let mut load = Load::new(address, None, 1).unwrap();
    let tally = load.run(&script(Mix::Call), Pace::Open { per_second: 100 }, 50).unwrap();
    assert_eq!((tally.done, tally.failed, tally.reconnects), (5, 0, 1), "{tally:?}");
}

#[test]
fn a_warm_up_that_fails_says_why() {
    let address = server(|_, _| "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned());
    let fault = Load::new(address, None, 1).unwrap().warm_up(&script(Mix::Call)).unwrap_err();
    assert!(fault.to_string().contains("status 401"), "{fault}");
}
