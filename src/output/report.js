"use strict";
// Draws the report from the data in the page. Text from outside only ever becomes text nodes.

const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 25;
const LISTED = 200;

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

const wanted = { text: "", cause: "", kind: "all" };
function matches(entry) {
  const { one, text } = entry;
  if (wanted.kind === "differing" && missing(one) + residual(one) === 0) return false;
  if (wanted.kind === "clean" && (missing(one) + residual(one) > 0 || !one.of_process)) return false;
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

// One lane for each stage: a finding is a gap at its stage, and what it stopped never reaches those behind.
function drawLanes(one, way, shown) {
  const findings = one.findings.filter(finding => finding.direction === way);
  const length = Math.max(one[way].syscall, one[way].wire, ...findings.map(finding => finding.range[1]), 0);
  if (length === 0) return [];
  const place = range => `left:${range[0] / length * 100}%;width:${(range[1] - range[0]) / length * 100}%`;
  const columns = ["wire", "syscall", "captured", "delivered", "delivered", "framed", "recorded"];
  const grid = element("div", { class: "lanes", role: "group", "aria-label": `${way}: stages over stream offsets` });
  data.stages.forEach((stage, index) => {
    const lane = element("div", { class: "lane" });
    if (one[way][columns[index]] === 0 && !findings.some(finding => finding.stage === stage)) lane.classList.add("empty");
    for (const finding of findings) {
      const at = data.stages.indexOf(finding.stage);
      if (at === index) lane.append(gapButton(finding, place(finding.range), shown));
      // The wire and the calls are two vantages: what one lacks the other may have.
      else if (at > 0 && at < index) {
        lane.prepend(element("div", { class: "unreached", style: place(finding.range) }));
      }
    }
    grid.append(element("div", { class: "name" }, stage), lane,
      element("div", { class: "sum" }, one[way][columns[index]].toLocaleString("en")));
  });
  return [element("h4", { class: "quiet" }, `${way === "send" ? "sent" : "received"} by the process, ${plural(length, "byte")}`),
    grid, element("div", { class: "axis" }, element("span", {}, "offset 0"), element("span", {}, length.toLocaleString("en")))];
}

function gapButton(finding, place, shown) {
  const text = `${finding.cause} at ${finding.stage}: ${finding.direction} [${finding.range[0]}, ${finding.range[1]}), ${plural(finding.bytes, "byte")}`;
  return element("button", {
    class: "gap", type: "button", title: text, "aria-label": text, "aria-expanded": "false",
    style: `${place};background:${colour(finding.cause)}`,
    onclick: event => shown.toggle(finding, event.currentTarget),
  });
}

// The same findings, and the records missing for them, over the life of the connection.
function drawTime(one, shown) {
  const timed = one.findings.filter(finding => finding.times);
  const [from, to] = [Date.parse(one.time), Date.parse(one.last)];
  if (timed.length === 0) return [];
  const span = Math.max(to - from, 1);
  const at = time => Math.min(Math.max((Date.parse(time) - from) / span * 100, 0), 99.5);
  const grid = element("div", { class: "lanes", role: "group", "aria-label": "findings over time" });
  for (const way of ["send", "recv"]) {
    const lane = element("div", { class: "lane time" });
    for (const finding of timed.filter(finding => finding.direction === way)) {
      const [left, right] = finding.times.map(at);
      lane.append(gapButton(finding, `left:${left}%;width:${Math.max(right - left, 0)}%`, shown));
    }
    grid.append(element("div", { class: "name" }, way), lane, element("div", { class: "sum" }, `${(span / 1000).toFixed(3)} s`));
  }
  return [element("h4", { class: "quiet" }, "over time"), grid,
    element("div", { class: "axis mono" }, element("span", {}, one.time), element("span", {}, one.last))];
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
  const panel = element("div", { "aria-live": "polite" });
  const shown = {
    open: new Map(),
    toggle(finding, button) {
      const known = this.open.get(finding);
      if (known) {
        known.remove();
        this.open.delete(finding);
      } else {
        const made = showFinding(finding);
        this.open.set(finding, made);
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
    class: "connection", id: `connection-${index}`,
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

const list = element("div", { id: "list" });
const state = element("p", { role: "status", class: "quiet" });
const moreButton = element("button", { class: "plain", type: "button", onclick: () => more() }, "show more");
let found = [];
let drawn = 0;
function more() {
  const next = found.slice(drawn, drawn + PAGE);
  list.append(...next.map((entry, index) => drawConnection(entry, drawn + index < 3 && entry.one.findings.length > 0)));
  drawn += next.length;
  state.textContent = `${plural(found.length, "connection")} of ${all.length.toLocaleString("en")}, ${drawn.toLocaleString("en")} shown; those that lack most come first`;
  moreButton.hidden = drawn >= found.length;
}
function search() {
  found = all.filter(matches);
  drawn = 0;
  list.replaceChildren();
  more();
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

const searchField = element("input", { type: "search", id: "search", placeholder: "address, socket, cause, record …", "aria-label": "search", oninput: () => choose() });
const causeChoice = element("select", { "aria-label": "cause", onchange: () => choose() },
  element("option", { value: "" }, "every cause"), causes.map(one => element("option", { value: one.cause }, one.cause)));
const kindChoice = element("select", { "aria-label": "kind of connection", onchange: () => choose() },
  [["all", "all connections"], ["differing", "with a difference"], ["clean", "without a difference"], ["others", "not of the process"]]
    .map(([value, text]) => element("option", { value }, text)));
function choose() {
  wanted.text = searchField.value.trim().toLowerCase();
  wanted.cause = causeChoice.value;
  wanted.kind = kindChoice.value;
  search();
}
// A slash goes to the search, as in many pages.
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== searchField) {
    event.preventDefault();
    searchField.focus();
  }
});

document.body.prepend(element("a", { class: "skip", href: "#list" }, "to the connections"), summary(),
  element("main", {}, element("h2", {}, "Connections"),
    element("div", { class: "controls" }, searchField, causeChoice, kindChoice), state, list, moreButton),
  element("footer", { class: "quiet" }, element("p", {}, `sockdbg ${data.version}, ${data.summary.time}`)));
search();
document.documentElement.dataset.ready = "true";
