"use strict";
// Draws the report from the data in the page. Text from outside only ever becomes text nodes.

const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 25;
const CLEAN_PAGE = 20;
const LISTED = 200;
// Gaps of one cause that begin within the same part of a lane are one button.
const PARTS = 400;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child || child === 0));
  return made;
}

function plural(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// Colours: each cause of the report its own hue, far from its neighbours'.
const causes = data.summary.causes;
const hues = new Map(causes.map((one, index) => [one.cause, Math.round((index * 137.5 + 5) % 360)]));
function colour(cause) {
  return `hsl(${hues.get(cause) ?? 0} 75% 48%)`;
}
function swatch(cause) {
  return element("span", { class: "swatch", style: `background:${colour(cause)}`, "aria-hidden": "true" });
}

const remedies = new Map(data.summary.remedies.map(one => [one.cause, one]));

function label(one) {
  const who = one.comm === undefined ? "" : `${one.comm}[${one.pid}] `;
  const fd = one.fd === undefined ? "" : `fd ${one.fd} `;
  return `${who}${fd}${one.transport} ${one.local || "?"} → ${one.remote || "?"}`;
}

const missing = one => one.findings.filter(finding => !finding.note).reduce((sum, finding) => sum + finding.bytes, 0);
const moved = one => ["send", "recv"].reduce((sum, way) => sum + Math.max(one[way].syscall, one[way].wire), 0);
const residual = one => one.send.residual + one.recv.residual;

// What a search looks at, made once for each connection.
const all = data.connections.map((one, index) => ({
  one, index, weight: [residual(one), missing(one), one.findings.length, moved(one)],
  text: [label(one), `socket ${one.socket}`, one.protocol || "",
    ...one.findings.flatMap(finding => [finding.cause, finding.detail,
      ...finding.records.map(record => record.summary)])].join("\n").toLowerCase(),
}));
all.sort((a, b) => {
  const at = a.weight.findIndex((value, index) => value !== b.weight[index]);
  return at < 0 ? a.index - b.index : b.weight[at] - a.weight[at];
});

const differs = one => missing(one) + residual(one) > 0;

const wanted = { text: "", cause: "", kind: "all" };
function matches(entry) {
  const { one, text } = entry;
  if (wanted.kind === "differing" && !differs(one)) return false;
  if (wanted.kind === "clean" && (differs(one) || !one.of_process)) return false;
  if (wanted.kind === "others" && one.of_process) return false;
  if (wanted.cause && !one.findings.some(finding => finding.cause === wanted.cause)) return false;
  return wanted.text.split(/\s+/).every(word => text.includes(word));
}

function hexdump(edge, range) {
  const bytes = edge.bytes.match(/../g) || [];
  const lines = [];
  for (let at = edge.offset - edge.offset % 16; at < edge.offset + bytes.length; at += 16) {
    const line = element("span", {}, at.toString(16).padStart(8, "0") + "  ");
    let text = "";
    for (let offset = at; offset < at + 16; offset += 1) {
      const byte = bytes[offset - edge.offset];
      const lost = offset >= range[0] && offset < range[1];
      line.append(byte === undefined ? "   " : element("span", { class: lost && "lost" }, byte + " "));
      const code = parseInt(byte, 16);
      text += byte === undefined ? " " : code >= 32 && code < 127 ? String.fromCharCode(code) : "·";
    }
    line.append(" " + text + "\n");
    lines.push(line);
  }
  return element("pre", { "aria-label": `bytes from offset ${edge.offset} on; those of the finding are highlighted` }, lines);
}

function showFinding(finding) {
  const records = finding.records.slice(0, LISTED);
  const remedy = remedies.get(finding.cause);
  const more = finding.record_count - records.length;
  return element("div", { class: "finding", style: `border-color:${colour(finding.cause)}` },
    element("p", {}, swatch(finding.cause), element("b", {}, finding.cause),
      ` at ${finding.stage}: ${finding.direction} [${finding.range[0]}, ${finding.range[1]}), `,
      plural(finding.bytes, "byte"), finding.note ? " (no difference)" : ""),
    finding.detail && element("p", {}, finding.detail),
    finding.times && element("p", { class: "quiet mono" }, `${finding.times[0]} … ${finding.times[1]}`),
    records.length > 0 && element("p", {}, "records in it, as the other vantage shows them:"),
    records.length > 0 && element("ul", { class: "mono" },
      records.map(record => element("li", {}, `${record.time} ${record.protocol} ${record.summary} [${record.range[0]}, ${record.range[1]})`)),
      more > 0 && element("li", {}, `and ${plural(more, "more record")}`)),
    remedy && element("p", { class: "quiet" }, "remedy: ", remedy.remedy,
      remedy.command && element("code", {}, ` $ ${remedy.command}`)),
    (finding.edges || []).map(edge => hexdump(edge, finding.range)));
}

// Findings whose beginnings can't be told apart in a lane of this length, by cause. `place` gives both ends.
function grouped(findings, length, place) {
  const groups = new Map();
  for (const finding of findings) {
    const [from, to] = place(finding);
    const key = `${finding.cause} ${Math.floor(from / length * PARTS)}`;
    const group = groups.get(key);
    if (group) {
      group.findings.push(finding);
      [group.from, group.to] = [Math.min(group.from, from), Math.max(group.to, to)];
    } else {
      groups.set(key, { from, to, findings: [finding] });
    }
  }
  return [...groups.values()].sort((a, b) => a.from - b.from);
}

// One lane for each stage: a finding is a gap at its stage, and what it stopped never reaches those behind.
function drawLanes(one, way, shown) {
  const findings = one.findings.filter(finding => finding.direction === way);
  const length = Math.max(one[way].syscall, one[way].wire, ...findings.map(finding => finding.range[1]), 0);
  if (length === 0) return [];
  const style = ({ from, to }) => `left:${from / length * 100}%;width:${(to - from) / length * 100}%`;
  const columns = ["wire", "syscall", "captured", "delivered", "delivered", "framed", "recorded"];
  const grid = gapGrid("lanes", `${way}: stages over stream offsets`);
  const stages = findings.map(finding => data.stages.indexOf(finding.stage));
  data.stages.forEach((stage, index) => {
    const lane = element("div", { class: "lane" });
    if (one[way][columns[index]] === 0 && !stages.includes(index)) lane.classList.add("empty");
    // The wire and the calls are two vantages: what one lacks the other may have.
    const before = findings.filter((_, number) => stages[number] > 0 && stages[number] < index);
    const here = findings.filter((_, number) => stages[number] === index);
    const groups = list => grouped(list, length, finding => finding.range);
    lane.append(...groups(before).map(group => element("div", { class: "unreached", style: style(group) })),
      ...groups(here).map(group => gapButton(group, style(group), shown)));
    grid.append(element("div", { class: "name" }, stage), lane,
      element("div", { class: "sum" }, one[way][columns[index]].toLocaleString("en")));
  });
  return [element("h4", { class: "quiet" }, `${way === "send" ? "sent" : "received"} by the process, ${plural(length, "byte")}`),
    oneStop(grid), axis("lanes", "offset 0", length.toLocaleString("en"))];
}

function axis(kind, from, to) {
  return element("div", { class: `axis ${kind}` }, element("div", { class: "ends" }, element("span", {}, from), element("span", {}, to)));
}

function describe(finding) {
  return `${finding.cause} at ${finding.stage}: ${finding.direction} [${finding.range[0]}, ${finding.range[1]}), ${plural(finding.bytes, "byte")}`;
}

function gapButton(group, place, shown) {
  const [first] = group.findings;
  const [from, to] = [0, 1].map(end => (end ? Math.max : Math.min)(...group.findings.slice(0, 1000).map(one => one.range[end])));
  const bytes = group.findings.reduce((sum, one) => sum + one.bytes, 0);
  const text = group.findings.length === 1 ? describe(first)
    : `${plural(group.findings.length, "finding")} of ${describe({ ...first, range: [from, to], bytes })}`;
  return element("button", {
    class: "gap", type: "button", title: text, "aria-label": text, "aria-expanded": "false", "aria-controls": shown.panel.id,
    style: `${place};background:${colour(first.cause)}`,
    onclick: event => shown.toggle(group, event.currentTarget),
  });
}

// Lanes whose gaps are one stop of the Tab key: within, arrows, Home and End lead from gap to gap.
function gapGrid(kind, name) {
  return element("div", {
    class: kind, role: "group", "aria-label": name,
    onkeydown: event => {
      const gaps = [...event.currentTarget.querySelectorAll(".gap")];
      const at = gaps.indexOf(document.activeElement);
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: gaps.length - 1 };
      const next = gaps[steps[event.key]];
      if (at < 0 || !next) return;
      event.preventDefault();
      next.focus();
    },
    onfocusin: event => {
      if (!event.target.classList.contains("gap")) return;
      event.currentTarget.querySelectorAll(".gap").forEach(gap => { gap.tabIndex = gap === event.target ? 0 : -1; });
    },
  });
}
function oneStop(grid) {
  grid.querySelectorAll(".gap").forEach((gap, index) => { gap.tabIndex = index ? -1 : 0; });
  return grid;
}

// The same findings, and the records missing for them, over the life of the connection: a lane for each cause.
function drawTime(one, shown) {
  const timed = one.findings.filter(finding => finding.times);
  const [from, to] = [Date.parse(one.time), Date.parse(one.last)];
  if (timed.length === 0) return [];
  const span = Math.max(to - from, 1);
  const at = time => Math.min(Math.max((Date.parse(time) - from) / span * 100, 0), 99.5);
  const grid = gapGrid("lanes wide", "findings over time");
  for (const way of ["send", "recv"]) {
    const mine = timed.filter(finding => finding.direction === way);
    for (const cause of new Set(mine.map(finding => finding.cause))) {
      const lane = element("div", { class: "lane time" });
      const those = mine.filter(finding => finding.cause === cause);
      for (const group of grouped(those, 100, finding => finding.times.map(at))) {
        lane.append(gapButton(group, `left:${group.from}%;width:${group.to - group.from}%`, shown));
      }
      grid.append(element("div", { class: "name" }, `${way} `, swatch(cause), cause), lane,
        element("div", { class: "sum" }, plural(those.length, "range")));
    }
  }
  return [element("h4", { class: "quiet" }, `over time, ${(span / 1000).toFixed(3)} s`), oneStop(grid), axis("lanes wide mono", one.time, one.last)];
}

function balances(one) {
  const columns = ["wire", "syscall", "captured", "delivered", "framed", "recorded", "residual"];
  const row = way => element("tr", {}, element("th", { scope: "row" }, way),
    columns.map(column => element("td", { class: column === "residual" && one[way].residual > 0 && "alarm" },
      one[way][column].toLocaleString("en"))));
  return element("table", {},
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "bytes"),
      columns.map(column => element("th", { scope: "col" }, column)))),
    element("tbody", {}, row("send"), row("recv")));
}

function fill(one, inside) {
  const panel = element("div", { id: `${inside.parentElement.id}-pressed`, role: "group", "aria-label": "findings of pressed gaps" });
  const shown = {
    panel,
    open: new Map(),
    toggle(group, button) {
      const known = this.open.get(button);
      if (known) {
        known.remove();
        this.open.delete(button);
      } else {
        const listed = group.findings.slice(0, PAGE);
        const more = group.findings.length - listed.length;
        const made = element("div", {}, listed.map(showFinding), more > 0 && element("p", { class: "quiet" }, `and ${more.toLocaleString("en")} more, in the list of findings and in JSON`));
        this.open.set(button, made);
        panel.prepend(made);
      }
      button.setAttribute("aria-expanded", String(!known));
    },
  };
  const listed = one.findings.slice(0, LISTED);
  inside.append(balances(one), ...drawLanes(one, "send", shown), ...drawLanes(one, "recv", shown), ...drawTime(one, shown), panel);
  if (one.findings.length > 0) {
    inside.append(element("details", { open: one.findings.length <= 5 },
      element("summary", {}, plural(one.findings.length, "finding")), listed.map(showFinding),
      one.findings.length > listed.length && element("p", {}, `and ${one.findings.length - listed.length} more`)));
  }
}

function drawConnection({ one, index }, open) {
  const lost = missing(one);
  const inside = element("div", { class: "inside" });
  const kinds = [...new Set(one.findings.map(finding => finding.cause))];
  const made = element("details", {
    class: differs(one) ? "connection" : "connection clean", id: `connection-${index}`,
    ontoggle: event => {
      if (event.currentTarget.open && inside.childElementCount === 0) fill(one, inside);
    },
  },
  element("summary", {}, element("h3", { class: "mono" }, label(one)),
    element("span", { class: "quiet" }, `socket ${one.socket}`),
    one.protocol && element("span", {}, `${one.protocol}, ${plural(one.records, "record")}`),
    element("span", {}, plural(moved(one), "byte")),
    lost > 0 && element("span", { class: "alarm" }, `${plural(lost, "byte")} missing`),
    residual(one) > 0 && element("span", { class: "alarm" }, `${plural(residual(one), "byte")} unexplained`),
    kinds.map(cause => element("span", {}, swatch(cause), cause))), inside);
  made.open = open;
  return made;
}

// What differs, heavy ones first; then what does not, folded.
function section(title, page, holds) {
  const items = element("div", {});
  const count = element("span", {});
  const button = element("button", { class: "plain", type: "button", onclick: () => made.more(true) });
  const all = element("section", { "aria-label": title }, element("h2", {}, title, " ", count), items, button);
  const made = {
    all, holds, found: [], drawn: 0,
    begin(entries) {
      [this.found, this.drawn] = [entries.filter(entry => holds(entry.one)), 0];
      items.replaceChildren();
      all.hidden = this.found.length === 0;
      count.textContent = `(${this.found.length.toLocaleString("en")})`;
      this.more(false);
    },
    more(pressed) {
      const next = this.found.slice(this.drawn, this.drawn + page);
      const drawn = next.map((entry, index) => drawConnection(entry, this.drawn + index < 3 && differs(entry.one)));
      items.append(...drawn);
      this.drawn += next.length;
      const left = this.found.length - this.drawn;
      button.textContent = `show ${Math.min(page, left).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
      button.hidden = left === 0;
      if (!pressed) return;
      tell();
      // The button may be gone: reading goes on with the first of them.
      drawn[0].querySelector("summary").focus();
    },
  };
  return made;
}
const sections = [
  section("Connections with a difference", PAGE, differs),
  section("Connections without a difference", CLEAN_PAGE, one => !differs(one) && one.of_process),
  section("Seen at the other side alone", CLEAN_PAGE, one => !differs(one) && !one.of_process),
];
const list = element("div", { id: "list", tabindex: "-1" }, sections.map(one => one.all));
const state = element("p", { role: "status", class: "quiet" });
function tell() {
  const [differing, clean, others] = sections.map(one => one.found.length);
  const drawn = sections.reduce((sum, one) => sum + one.drawn, 0);
  const parts = [`${differing.toLocaleString("en")} with a difference`, `${clean.toLocaleString("en")} without`];
  if (others > 0) parts.push(`${others.toLocaleString("en")} at the other side alone`);
  state.textContent = `${plural(differing + clean + others, "connection")} of ${all.length.toLocaleString("en")}: ${parts.join(", ")}; ${drawn.toLocaleString("en")} shown`;
}
function search() {
  const found = all.filter(matches);
  sections.forEach(section => section.begin(found));
  tell();
}

function summary() {
  const { verdict, connections, records, bytes, missing, residual } = data.summary;
  const rows = [...causes].sort((a, b) => b.bytes - a.bytes).map(one => {
    const remedy = remedies.get(one.cause);
    return element("tr", {},
      element("td", {}, element("button", {
        class: "plain", type: "button", title: `show only connections with ${one.cause}`,
        onclick: () => {
          causeChoice.value = one.cause;
          choose();
        },
      }, swatch(one.cause), one.cause)),
      element("td", { class: "left" }, one.stage), element("td", {}, one.bytes.toLocaleString("en")),
      element("td", {}, one.findings.toLocaleString("en")), element("td", {}, one.records.toLocaleString("en")),
      element("td", { class: "left" }, remedy ? remedy.remedy : "", remedy && remedy.command && element("code", { class: "command" }, `$ ${remedy.command}`)));
  });
  return element("header", {},
    element("h1", {}, "sockdbg: ", element("span", { class: `verdict ${verdict}` }, verdict)),
    element("p", { class: "quiet mono" }, data.title),
    element("p", {}, `${plural(connections, "connection")} of the process, ${plural(bytes, "byte")} seen at the calls, ${plural(missing, "byte")} missing or different, ${plural(records, "record")}; residual ${residual.toLocaleString("en")}`),
    rows.length > 0 && element("table", {},
      element("caption", { class: "skip" }, "causes"),
      element("thead", {}, element("tr", {}, ["cause", "stage", "bytes", "ranges", "records", "remedy"]
        .map((name, index) => element("th", { scope: "col", class: index === 1 || index === 5 ? "left" : undefined }, name)))),
      element("tbody", {}, rows)));
}

const searchField = element("input", { type: "search", id: "search", placeholder: "address, socket, cause, record …", "aria-label": "search connections", oninput: () => choose() });
const causeChoice = element("select", { "aria-label": "cause", onchange: () => choose() },
  element("option", { value: "" }, "every cause"), causes.map(one => element("option", { value: one.cause }, one.cause)));
const kindChoice = element("select", { "aria-label": "kind of connection", onchange: () => choose() },
  [["all", "all connections"], ["differing", "with a difference"], ["clean", "without a difference"], ["others", "at the other side alone"]]
    .map(([value, text]) => element("option", { value }, text)));
function choose() {
  wanted.text = searchField.value.trim().toLowerCase();
  wanted.cause = causeChoice.value;
  wanted.kind = kindChoice.value;
  search();
}
// A slash goes to the search, as in many pages.
document.addEventListener("keydown", event => {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key === "/" && plain && document.activeElement !== searchField) {
    event.preventDefault();
    searchField.focus();
  }
});

document.body.prepend(element("a", { class: "skip", href: "#list" }, "to the connections"), summary(),
  element("main", {},
    element("div", { class: "controls", role: "search", "aria-label": "connections" }, searchField, causeChoice, kindChoice), state, list),
  element("footer", { class: "quiet" }, element("p", {}, `sockdbg ${data.version}, ${data.summary.time}`)));
search();
document.documentElement.dataset.ready = "true";
