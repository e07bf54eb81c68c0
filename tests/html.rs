//! The HTML report in a real browser: what it shows of ten thousand connections, and how it answers a reader with a
//! keyboard. The page is the one that users get, with a script behind it that acts as the reader.

use serde_json::{Value, json};
use sockdbg::compare::{Coverage, Edges, Report, Side};
use sockdbg::conn::{Options, Tracker};
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Loss, Open, Range, Role,
    Start, Timestamp, Vantage,
};
use sockdbg::ledger::Book;
use sockdbg::output::report_html;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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
        acked: None,
        error: None,
    };
    let mut kinds = vec![Kind::Open(open)];
    for (direction, payload, seq) in [(Direction::Send, &request, 1000), (Direction::Recv, &response, 2000)] {
        let cut = direction == Direction::Recv && vantage == Vantage::Syscall && is_lossy(number);
        let seen = if cut { payload.len() / 2 } else { payload.len() };
        kinds.push(Kind::Data(Data { length: seen as u64, ..data(direction, &payload[..seen], seq) }));
        if cut {
            // All but ten bytes of it.
            let (from, to) = (seen + 50, seen + 60);
            let lost = |from: usize, to: usize| {
                let range = Range::new(from as u64, to as u64);
                Kind::Loss(Loss { direction, range, cause: Cause::RingFull })
            };
            let between = Data {
                offset: from as u64,
                length: (to - from) as u64,
                ..data(direction, &payload[from..to], seq + from as u32)
            };
            kinds.extend([lost(seen, from), Kind::Data(between), lost(to, payload.len())]);
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
const drawnSections = $$("section").filter(one => !one.hidden);
answers.push(drawnSections.map(one => `${one.textContent.match(/\(([0-9,]+)\)/)[1]} ${$("h2 span", one).textContent} ${$$(".connection", one).length}`).join(", "));
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
const lanes = $$(".lanes[role=group]", first)[1];
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
$("section button:not(.gap)").click();
// Reading goes on with the first one that is new.
answers.push($$(".connection").length, $$(".connection > summary").indexOf(document.activeElement));
// Everything that can be pressed has a name, and is reached by the keyboard.
answers.push($$("button, input, select, summary").filter(one => !(one.textContent.trim() || one.getAttribute("aria-label"))).length);
// Of the gaps of a direction one is, and arrows lead to the others.
answers.push($$(".lanes").filter(grid => $(".gap", grid) && $$(".gap[tabindex='0']", grid).length !== 1).length);
"##,
    );
    let shown = "10,000 connections of 10,000: 100 with a difference, 9,900 without; 45 shown";
    let expected = [
        "sockdbg: incomplete",
        shown,
        // Of those without a difference twenty.
        "45",
        "100 (100) 25, 9,900 (9,900) 20",
        "true",
        "true",
        // Seven stages each way, and the only cause over time.
        "15",
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
        "1 connection of 10,000: 0 with a difference, 1 without; 1 shown",
        "1",
        "100 connections of 10,000: 100 with a difference, 0 without; 25 shown",
        "50",
        "25",
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

/// A browser that shows the page, spoken to as its developer tools do (Chrome DevTools Protocol, over pipes).
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// The page is there, its script included.
    loaded: bool,
}

impl Browser {
    fn open(folder: &Path, page: &str) -> Browser {
        let path = folder.join("report.html");
        std::fs::write(&path, page).expect("a temporary file");
        // It reads from descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh", "--headless=new"])
            .args([
                "--no-sandbox",
                "--disable-gpu",
                "--force-renderer-accessibility",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium is missing: run scripts/setup.sh test");
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser { child, to, from, session: None, calls: 0, loaded: false };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let session =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        browser.call("Page.navigate", json!({ "url": format!("file://{}", path.display()) }));
        while !browser.loaded {
            browser.message();
        }
        assert_eq!(browser.ask("document.documentElement.dataset.ready"), "true");
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("a browser that listens");
        loop {
            let answer = self.message();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message.
    fn message(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).expect("a browser that answers");
        assert_eq!(message.pop(), Some(0), "the browser ended");
        let message: Value = serde_json::from_slice(&message).expect("JSON");
        self.loaded |= message["method"] == "Page.loadEventFired";
        message
    }

    /// The value of an expression in the page.
    fn ask(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Presses and releases a key; gives what has the focus then.
    fn press(&mut self, key: &str) -> String {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "End" => (35, ""),
            "ArrowLeft" => (37, ""),
            "ArrowRight" => (39, ""),
            "/" => (191, "/"),
            _ => unreachable!("{key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
        let focus = "(one => `${one.localName} ${one.getAttribute('aria-label') || one.textContent}`)(document.activeElement)";
        self.ask(focus).as_str().unwrap().to_owned()
    }

    /// What a screen reader is told: role, name and properties of each node.
    fn tree(&mut self) -> Vec<Node> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = nodes.map(|node| {
            let properties = node["properties"].as_array().cloned().unwrap_or_default();
            let property =
                |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["value"]["value"].clone());
            let (role, name) = (text(&node["role"]), text(&node["name"]));
            Node { role, name, properties: properties.iter().map(property).collect() }
        });
        nodes.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node of the accessibility tree.
#[derive(Debug)]
struct Node {
    role: String,
    name: String,
    properties: Vec<(String, Value)>,
}

impl Node {
    fn get(&self, name: &str) -> Value {
        self.properties.iter().find(|one| one.0 == name).map_or(Value::Null, |one| one.1.clone())
    }
}

fn named<'a>(tree: &'a [Node], role: &str, name: &str) -> &'a Node {
    let found: Vec<&Node> =
        tree.iter().filter(|node| node.role == role && node.name.starts_with(name)).collect();
    assert!(!found.is_empty(), "no {role} {name:?}");
    found[0]
}

#[test]
fn a_screen_reader_is_told_roles_names_and_what_changes() {
    let folder = tempfile::tempdir().expect("room for files");
    let mut browser = Browser::open(folder.path(), &page());
    let tree = browser.tree();
    for (role, name) in [
        ("banner", ""),
        ("main", ""),
        ("search", "connections"),
        ("searchbox", "search connections"),
        ("combobox", "cause"),
        ("combobox", "kind of connection"),
        ("heading", "sockdbg: incomplete"),
        ("heading", "Connections with a difference (100)"),
        ("heading", "Connections without a difference (9,900)"),
        ("region", "Connections with a difference"),
        ("button", "show 25 more of 75"),
        ("button", "show 20 more of 9,880"),
        ("link", "to the connections"),
        ("table", "causes"),
        ("columnheader", "remedy"),
        ("group", "recv: stages over stream offsets"),
        ("group", "findings over time"),
    ] {
        named(&tree, role, name);
    }
    // Whatever can have the focus says what it is.
    let focusable = tree.iter().filter(|node| node.get("focusable") == true && node.role != "RootWebArea");
    let silent: Vec<&Node> =
        focusable.filter(|node| node.name.trim().is_empty() && node.role != "generic").collect();
    assert!(silent.is_empty(), "{silent:?}");
    // Headings are those of an outline: none skips a level.
    let outline =
        browser.ask("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.localName[1]))");
    let levels: Vec<u64> = outline.as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).collect();
    assert!(levels[0] == 1 && levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let told = tree.iter().filter(|node| node.role == "heading");
    let mut told: Vec<u64> = told.map(|node| node.get("level").as_u64().unwrap()).collect();
    // One section has nothing in it, and is hidden.
    let mut shown = levels.clone();
    shown.remove(shown.iter().rposition(|&level| level == 2).unwrap());
    told.sort_unstable();
    shown.sort_unstable();
    assert_eq!(told, shown);
    let status = tree.iter().find(|node| node.role == "status").expect("a status");
    assert_eq!([status.get("live"), status.get("atomic")], [json!("polite"), json!(true)]);
    let gap =
        tree.iter().find(|node| node.role == "button" && node.name.starts_with("ring-full at delivery"));
    let gap = gap.expect("a gap");
    assert_eq!(gap.get("expanded"), false);
    // Pressed, it says so; what it opened is where it points.
    let controlled = "(gap => { gap.click(); return document.getElementById(gap.getAttribute('aria-controls')).textContent; })\
                      (document.querySelector('.gap'))";
    assert!(browser.ask(controlled).as_str().unwrap().starts_with("ring-full at delivery: recv ["));
    let is_pressed = |node: &Node| node.role == "button" && node.get("expanded") == true;
    assert!(
        browser.tree().iter().any(|node| is_pressed(node) && node.name.starts_with("ring-full at delivery"))
    );
    // The count of what a search found is told again.
    let search = "(field => { field.value = '127.0.0.1:14321'; field.dispatchEvent(new Event('input')); })\
                  (document.getElementById('search'))";
    browser.ask(search);
    let count = browser.ask("document.querySelector('[role=status]').textContent");
    assert_eq!(count, "1 connection of 10,000: 0 with a difference, 1 without; 1 shown");
}

#[test]
fn keys_alone_reach_everything_in_the_order_in_which_it_is_read() {
    let folder = tempfile::tempdir().expect("room for files");
    let mut browser = Browser::open(folder.path(), &page());
    let stops: Vec<String> = (0..7).map(|_| browser.press("Tab")).collect();
    let begins = [
        "a to the connections",
        "button ring-full",
        "input search connections",
        "select cause",
        "select kind of connection",
        "summary ",
        "button ring-full at delivery: recv [",
    ];
    assert!(stops.iter().zip(begins).all(|(stop, begin)| stop.starts_with(begin)), "{stops:#?}");
    // The gaps of a direction are one stop; arrows lead from one to the other.
    let first = &stops[6];
    let last = browser.press("ArrowRight");
    assert!(last.starts_with(begins[6]) && last != *first, "{last}");
    assert_eq!(browser.press("ArrowLeft"), *first);
    assert_eq!(browser.press("End"), last);
    browser.press("Enter");
    assert_eq!(browser.ask("document.activeElement.getAttribute('aria-expanded')"), "true");
    browser.press("Enter");
    assert_eq!(browser.ask("document.activeElement.getAttribute('aria-expanded')"), "false");
    // Those over time, and the list of findings.
    assert!(browser.press("Tab").contains("ring-full at delivery: recv ["));
    assert_eq!(browser.press("Tab"), "summary 2 findings");
    assert_eq!(browser.press("/"), "input search connections");
    browser.call("Input.insertText", json!({ "text": "ring-full" }));
    let status = "document.querySelector('[role=status]').textContent";
    assert_eq!(browser.ask(status), "100 connections of 10,000: 100 with a difference, 0 without; 25 shown");
    // A slash in the search is part of what is looked for.
    browser.press("/");
    assert_eq!(browser.ask("document.activeElement.value"), "ring-full/");
}
