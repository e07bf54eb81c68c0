//! The HTML report in a real browser: what it shows of ten thousand connections, and how it answers a reader with a
//! keyboard. The page is the one that users get, with a script behind it that acts as the reader.

use sockdbg::compare::{Coverage, Edges, Report, Side};
use sockdbg::conn::{Options, Tracker};
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Loss, Open, Range, Role,
    Start, Timestamp, Vantage,
};
use sockdbg::ledger::Book;
use sockdbg::output::report_html;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const CONNECTIONS: u64 = 10_000;
const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_700_000_000 * SECOND;

/// Which connections lack the second half of their response at the process's side.
fn is_lossy(number: u64) -> bool {
    number % 100 == 7
}

fn request(number: u64) -> Vec<u8> {
    format!("GET /<b>{number}</b> HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn response(number: u64) -> Vec<u8> {
    let body = format!("answer {number}").repeat(20);
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Feeds what a vantage sees of a connection.
fn feed(tracker: &mut Tracker<Book>, vantage: Vantage, number: u64, also: &mut dyn FnMut(&Event<'_>)) {
    let address = |port: u64| Some(Address::from(SocketAddr::from(([127, 0, 0, 1], port as u16))));
    let start = [1000, 2000].map(|seq| Start { offset: 0, seq: Some(seq) });
    let open = Open {
        local: address(10_000 + number),
        remote: address(80),
        role: Role::Client,
        start,
        exact: true,
        ..Open::default()
    };
    let (request, response) = (request(number), response(number));
    let data = |direction: Direction, payload, seq| Data {
        direction,
        offset: 0,
        length: 0,
        payload,
        tcp_seq: Some(seq),
        peer: None,
        call: Call::Packet,
        cause: None,
        peek: false,
        past_tcp: false,
        error: None,
    };
    let mut kinds = vec![Kind::Open(open)];
    for (direction, payload, seq) in [(Direction::Send, &request, 1000), (Direction::Recv, &response, 2000)] {
        let cut = direction == Direction::Recv && vantage == Vantage::Syscall && is_lossy(number);
        let seen = if cut { payload.len() / 2 } else { payload.len() };
        kinds.push(Kind::Data(Data { length: seen as u64, ..data(direction, &payload[..seen], seq) }));
        if cut {
            let range = Range::new(seen as u64, payload.len() as u64);
            kinds.push(Kind::Loss(Loss { direction, range, cause: Cause::RingFull }));
        }
    }
    kinds.push(Kind::Close(Close { reason: CloseReason::Closed, call: None, totals: Default::default() }));
    for (index, kind) in kinds.into_iter().enumerate() {
        let time = Timestamp(BEGIN + number * 1_000_000 + index as u64 * 100_000);
        let conn = ConnId { socket: number + 1, opened: 1 };
        let event = Event { time, conn, task: None, fd: None, kind };
        tracker.event(&event);
        also(&event);
    }
}

fn side(vantage: Vantage, also: &mut dyn FnMut(&Event<'_>)) -> Side {
    let mut tracker = Tracker::new(vantage, Options::default(), Book::default());
    (0..CONNECTIONS).for_each(|number| feed(&mut tracker, vantage, number, also));
    let coverage = Coverage {
        first: Some(Timestamp(BEGIN - SECOND)),
        last: Some(Timestamp(BEGIN + 100 * SECOND)),
        cut: false,
    };
    Side { ledgers: tracker.finish().into_ledgers(), coverage, ..Side::default() }
}

fn page() -> String {
    let [process, wire] = [Vantage::Syscall, Vantage::Wire].map(|vantage| side(vantage, &mut |_| {}));
    let mut report = Report::new(&process, &wire);
    let mut edges = Edges::of(&report);
    side(Vantage::Wire, &mut |event| edges.event(event));
    edges.settle(&mut report);
    let mut page = Vec::new();
    report_html::write(&report, "a <i>test</i>", Timestamp(BEGIN), &mut page).expect("memory");
    String::from_utf8(page).expect("UTF-8")
}

/// What the page is like after `reader` has acted in the browser: the answers it left, one a line.
fn read(folder: &Path, page: &str, options: &[&str], reader: &str) -> Vec<String> {
    let path = folder.join("report.html");
    let script = format!(
        "<script>const answers = [];\n{reader}\n\
         const left = document.createElement('pre'); left.id = 'answers';\n\
         left.textContent = answers.join('\\n'); document.body.append(left);</script></body>"
    );
    std::fs::write(&path, page.replace("</body>", &script)).expect("a temporary file");
    let chromium = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"])
        .args(options)
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", path.display()))
        .output();
    let output = chromium.expect("chromium is missing: run scripts/setup.sh test");
    let dom = String::from_utf8(output.stdout).expect("UTF-8");
    let answers = dom.split_once("<pre id=\"answers\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (answers, _) = answers.unwrap_or_else(|| panic!("the script did not get to its end: {stderr}"));
    answers.lines().map(str::to_owned).collect()
}

#[test]
fn ten_thousand_connections_can_be_read_searched_and_opened_by_keyboard() {
    let folder = tempfile::tempdir().expect("room for files");
    let answers = read(
        folder.path(),
        &page(),
        &[],
        r##"
const $ = (query, from) => (from || document).querySelector(query);
const $$ = (query, from) => [...(from || document).querySelectorAll(query)];
const press = (target, key) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
answers.push($("h1").textContent, $("[role=status]").textContent, $$(".connection").length);
// The heavy ones come first, the first of them open.
const first = $(".connection");
first.dispatchEvent(new Event("toggle"));
answers.push(first.open, first.textContent.includes("ring-full"), $$(".lane", first).length, $$("i, b", $("header")).length);
// A gap is a button with a name; pressing it shows the finding, pressing it again hides it.
const gap = $(".gap", first);
gap.focus();
answers.push(document.activeElement === gap, gap.getAttribute("aria-label").replace(/\d+/g, "N"));
const before = $$(".finding", first).length;
gap.click();
answers.push(gap.getAttribute("aria-expanded"), $$(".finding", first).length - before);
gap.click();
answers.push(gap.getAttribute("aria-expanded"), $$(".finding", first).length - before);
answers.push($(".finding pre", first).textContent.includes("answer"));
// What the gap took never reaches the stages behind it, and those before have it.
const lanes = $$(".lanes", first)[1];
answers.push($$(".lane", lanes).map(lane => lane.querySelector(".gap") ? "gap" : lane.querySelector(".unreached") ? "unreached" : "passed").join(" "));
// A slash goes to the search.
press(document.body, "/");
answers.push(document.activeElement.id);
document.activeElement.value = "127.0.0.1:14321 udp";
document.activeElement.dispatchEvent(new Event("input"));
answers.push($$(".connection").length);
document.activeElement.value = "127.0.0.1:14321 TCP";
document.activeElement.dispatchEvent(new Event("input"));
answers.push($("[role=status]").textContent, $$(".connection").length);
document.activeElement.value = "ring-full";
document.activeElement.dispatchEvent(new Event("input"));
answers.push($("[role=status]").textContent);
$("#list ~ button").click();
answers.push($$(".connection").length);
// Everything that can be pressed has a name, and is reached by the keyboard.
answers.push($$("button, input, select, summary").filter(one => !(one.textContent.trim() || one.getAttribute("aria-label"))).length);
answers.push($$("[onclick]:not(button), [tabindex='-1']").length);
"##,
    );
    let shown = "10,000 connections of 10,000, 25 shown; those that lack most come first";
    let expected = [
        "sockdbg: incomplete",
        shown,
        "25",
        "true",
        "true",
        // Seven stages each way, and both ways over time.
        "16",
        "0",
        "true",
        "ring-full at delivery: recv [N, N), N bytes",
        "true",
        "1",
        "false",
        "0",
        "true",
        "passed passed passed gap unreached unreached unreached",
        "search",
        "0",
        "1 connection of 10,000, 1 shown; those that lack most come first",
        "1",
        "100 connections of 10,000, 25 shown; those that lack most come first",
        "50",
        "0",
        "0",
    ];
    assert_eq!(answers, expected);
}

#[test]
fn it_is_light_or_dark_as_its_reader_likes() {
    let folder = tempfile::tempdir().expect("room for files");
    let page = page();
    let luminance = |scheme: &str| {
        let options = [format!("--blink-settings=preferredColorScheme={scheme}")];
        let answers = read(
            folder.path(),
            &page,
            &[&options[0]],
            "const style = getComputedStyle(document.body);\n\
             for (const colour of [style.backgroundColor, style.color])\n\
             answers.push(colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));",
        );
        let numbers: Vec<u32> = answers.iter().map(|answer| answer.parse().expect("a number")).collect();
        (numbers[0], numbers[1])
    };
    let ((light_page, light_text), (dark_page, dark_text)) = (luminance("1"), luminance("0"));
    assert!(light_page > 700 && light_text < 150, "light: {light_page} {light_text}");
    assert!(dark_page < 100 && dark_text > 600, "dark: {dark_page} {dark_text}");
}
