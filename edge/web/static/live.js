"use strict";

const LEAST_SPAN_S = 30;
const MOST_SPAN_S = 300;
const cards = new Map();
let overlay = true;
let heat = true;
let lost = false;

const layer = () => (overlay ? (heat ? "heat" : "overlay") : "plain");

/** The score of the last minutes: hovered, touched, or walked with the arrow keys. */
class Chart {
  constructor() {
    this.points = [];
    this.threshold = null;
    this.at = null;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("viewBox", "0 0 100 100");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.limit = this.shape("line", "limit");
    this.line = this.shape("path", "line");
    this.cursor = this.shape("line", "cursor");
    this.tip = make("span", { class: "tip", hidden: "" });
    this.element = make("div", {
      class: "chart", role: "slider", tabindex: "0", "aria-label": "Score of the last five minutes",
      "aria-valuemin": "0", "aria-valuemax": "100",
    }, this.svg, this.tip);
    for (const [text, top] of [["100 %", "0.2rem"], ["0 %", "auto"]]) {
      const label = make("span", { class: "axis", "aria-hidden": "true" }, text);
      label.style.top = top;
      if (top === "auto") label.style.bottom = "0.2rem";
      this.element.append(label);
    }
    this.element.addEventListener("pointermove", (event) => this.point(event));
    this.element.addEventListener("pointerdown", (event) => this.point(event));
    this.element.addEventListener("pointerleave", () => this.show(null));
    this.element.addEventListener("blur", () => this.show(null));
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  shape(tag, name) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
    shape.setAttribute("class", name);
    this.svg.append(shape);
    return shape;
  }

  add(points) {
    for (const point of points) {
      const last = this.points.at(-1);
      if (!last || point[0] > last[0]) this.points.push(point);
    }
    const end = this.points.at(-1);
    while (end && this.points[0][0] < end[0] - MOST_SPAN_S) this.points.shift();
    this.draw();
  }

  /** The newest time, and how much before it is shown, in seconds. */
  span() {
    const end = this.points.at(-1)?.[0] ?? 0;
    return [end, Math.max(LEAST_SPAN_S, end - (this.points[0]?.[0] ?? 0))];
  }

  /** Where a time lies, in percent of the width. */
  x(time) {
    const [end, span] = this.span();
    return 100 - (100 * (end - time)) / span;
  }

  draw() {
    let path = "";
    let pen = "M";
    for (const [time, score] of this.points) {
      if (score === null) { pen = "M"; continue; }
      path += `${pen}${this.x(time).toFixed(2)} ${(100 - 100 * score).toFixed(1)}`;
      pen = "L";
    }
    this.line.setAttribute("d", path);
    const y = 100 - 100 * (this.threshold ?? -1);
    for (const [name, value] of [["x1", 0], ["x2", 100], ["y1", y], ["y2", y]]) {
      this.limit.setAttribute(name, value);
    }
    this.show(this.at);
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const [end, span] = this.span();
    this.show(end - span + (span * (event.clientX - box.left)) / box.width);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!this.points.length) return;
    if (event.key === "Escape") { this.show(null); return; }
    let index = this.at === null ? this.points.length - 1 : this.nearest(this.at);
    if (event.key === "Home") index = 0;
    else if (event.key === "End") index = this.points.length - 1;
    else if (step === undefined) return;
    else if (this.at !== null) index += step;
    index = Math.min(this.points.length - 1, Math.max(0, index));
    event.preventDefault();
    this.show(this.points[index][0]);
  }

  nearest(time) {
    let best = 0;
    this.points.forEach((point, index) => {
      if (Math.abs(point[0] - time) < Math.abs(this.points[best][0] - time)) best = index;
    });
    return best;
  }

  show(time) {
    this.at = time;
    const shown = time !== null && this.points.length > 0;
    const point = this.points[shown ? this.nearest(time) : this.points.length - 1];
    const text = point ? `${clock(point[0])}: ${WORDS[point[2]]}, fake ${percent(point[1])}` : "nothing so far";
    this.element.setAttribute("aria-valuenow", String(Math.round(100 * (point?.[1] ?? 0))));
    this.element.setAttribute("aria-valuetext", text);
    this.tip.hidden = !shown;
    this.cursor.style.display = shown ? "" : "none";
    if (!shown) return;
    const x = this.x(point[0]);
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", 100]]) this.cursor.setAttribute(name, value);
    this.tip.textContent = text;
    this.tip.style.left = `${x}%`;
    this.tip.style.transform = `translateX(-${x}%)`;
  }
}

class Card {
  constructor(camera) {
    this.id = camera.id;
    this.state = null;
    this.chart = new Chart();
    this.picture = make("img", { alt: `Live picture of ${camera.name}` });
    this.dead = make("div", { class: "dead", hidden: "" });
    this.verdict = make("span", { class: "verdict" });
    this.score = make("span", { class: "num" });
    this.held = make("span", { class: "faint small end" });
    this.reason = make("p", { class: "small", hidden: "" });
    this.health = make("p", { class: "faint small num" });
    this.figures = make("dl", {});
    this.element = make("article", { class: "card camera", "aria-label": camera.name },
      make("div", { class: "stage" }, this.picture, this.dead),
      make("h2", {}, camera.name),
      make("p", { class: "row" }, this.verdict, this.score, this.held),
      this.reason, this.chart.element, this.health,
      make("details", { class: "small" }, make("summary", {}, "Health"), this.figures));
    this.watch();
    ask(`/api/v1/cameras/${encodeURIComponent(this.id)}/history`)
      .then((points) => { const newer = this.chart.points; this.chart.points = []; this.chart.add([...points, ...newer]); })
      .catch(() => {});
    this.picture.addEventListener("error", () => { this.broken = true; });
  }

  /** Ask for the live picture; again where it broke off, or another layer is wanted. */
  watch() {
    this.broken = false;
    this.picture.src = `/api/v1/cameras/${encodeURIComponent(this.id)}/live?layer=${layer()}&t=${Date.now()}`;
  }

  close() { this.picture.removeAttribute("src"); this.element.remove(); }

  /** Nothing is known any more. */
  lose() {
    this.state = null;
    this.paint("no_signal");
    this.verdict.textContent = "Unknown";
    this.score.textContent = this.held.textContent = this.health.textContent = "";
    this.dead.hidden = false;
    this.dead.textContent = "The program does not answer.";
  }

  paint(state) {
    for (const name of Object.keys(WORDS)) this.element.classList.toggle(name, name === state);
  }

  show(camera) {
    const { result, health } = camera;
    if (this.broken) this.watch();
    const state = result?.verdict ?? "no_signal";
    this.paint(state);
    this.verdict.textContent = WORDS[state];
    this.score.textContent = result?.score === null || !result ? MEANING[state] : `fake ${percent(result.score)}, ${MEANING[state]}`;
    this.held.textContent = camera.held_s >= 1 ? `for ${duration(camera.held_s)}` : "";
    this.reason.textContent = result?.reason ?? "";
    this.reason.hidden = !result?.reason;
    this.chart.threshold = camera.threshold;
    if (result) this.chart.add([[Date.now() / 1000, result.score, state]]);
    const why = health?.error ?? result?.error ?? "";
    this.dead.hidden = Boolean(camera.alive);
    this.dead.textContent = result || health?.error ? `No signal. ${why}` : "Waiting for the first picture …";
    this.health.textContent = [
      camera.alive && camera.fps !== null ? `${camera.fps} fps` : null,
      camera.alive && result?.age_ms !== undefined ? `${Math.round(result.age_ms)} ms old` : null,
      health ? `connection: ${health.state}` : null,
    ].filter(Boolean).join(" · ");
    list(this.figures, this.rows(camera));
    if (this.state !== null && this.state !== state) {
      $("said").textContent = `${camera.name}: ${WORDS[state]}, ${MEANING[state]}. ${state === "no_signal" ? why : ""}`;
    }
    this.state = state;
  }

  rows({ health, sinks, result }) {
    const rows = health ? [
      ["Connection", health.state], ["Received", health.received],
      ["Skipped", health.skipped + health.old], ["Damaged", health.corrupt],
      ["Reconnects", health.reconnects], ["Stalled threads", health.abandoned],
      ["Next try", health.retry_in_s === null ? null : `in ${Math.ceil(health.retry_in_s)} s`],
      ["Last error", health.error],
    ] : [];
    const stages = Object.entries(result?.latency_ms ?? {}).map(([name, ms]) => `${name} ${ms.toFixed(1)}`);
    rows.push(["Latency, ms", stages.join(", ")]);
    for (const sink of sinks) {
      rows.push([sink.name, `${sink.state}, ${sink.written} written, ${sink.dropped} dropped${sink.error ? `: ${sink.error}` : ""}`]);
    }
    return rows;
  }
}

function order(ids) {
  for (const [id, card] of cards) {
    if (!ids.includes(id)) { card.close(); cards.delete(id); }
  }
  ids.forEach((id) => { if (cards.has(id)) $("cameras").append(cards.get(id).element); });
  $("cameras").classList.toggle("one", ids.length === 1);
}

function show(cameras) {
  for (const camera of cameras) {
    if (!cards.has(camera.id)) {
      const card = new Card(camera);
      cards.set(camera.id, card);
      $("cameras").append(card.element);
      $("which").append(make("option", { value: camera.name }, camera.name));
    }
    cards.get(camera.id).show(camera);
  }
  $("cameras").classList.toggle("one", cards.size === 1);
  $("empty").hidden = cards.size > 0;
}

function listen() {
  const events = new EventSource("/api/v1/events");
  events.addEventListener("order", (event) => order(JSON.parse(event.data)));
  events.addEventListener("cameras", (event) => show(JSON.parse(event.data)));
  events.addEventListener("open", () => {
    if (lost) cards.forEach((card) => card.watch());
    lost = false;
    $("lost").hidden = true;
    incidents();
  });
  events.addEventListener("error", () => {
    lost = true;
    $("lost").hidden = false;
    cards.forEach((card) => card.lose());
    if (events.readyState !== EventSource.CLOSED) return;
    // A program that was started again with another token asks for it.
    fetch("/api/v1/model").then((answer) => { if (answer.status === 401) location.reload(); }).catch(() => {});
    setTimeout(listen, 3000);
  });
}

function toggle(button, change) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(change()));
    $("heat").disabled = !overlay;
    cards.forEach((card) => card.watch());
  });
}

let next = null;
let newest = "";

function incident(one) {
  const words = WORDS[one.state] ?? one.state;
  const score = one.highest_score === null ? "" : `, score ${percent(one.highest_score)}`;
  const lasted = one.ended === null ? "lasting" : `for ${duration(Math.max(1, one.duration_s))}`;
  const item = make("li", { class: one.state });
  if (one.has_snapshot) {
    const address = `/api/v1/incidents/${one.id}/snapshot`;
    item.append(make("a", { href: address, target: "_blank" },
      make("img", { src: address, loading: "lazy", alt: `${words}, ${one.source}, ${moment(one.began)}` })));
  }
  item.append(make("div", {},
    make("strong", {}, `${words}${score}`), make("br"),
    make("span", { class: "small" }, `${one.source}, ${moment(one.began)}, ${lasted}`),
    ...(one.reason ? [make("br"), make("span", { class: "faint small" }, one.reason)] : [])));
  return item;
}

async function incidents(older = false) {
  const query = new URLSearchParams({ limit: "12" });
  if ($("which").value) query.set("camera", $("which").value);
  if (older && next) query.set("before", next);
  try {
    const page = await ask(`/api/v1/incidents?${query}`);
    const text = JSON.stringify(page.incidents);
    if (!older && (text === newest || $("incidents").children.length > 12)) return;
    if (!older) { newest = text; $("incidents").replaceChildren(); }
    $("incidents").append(...page.incidents.map(incident));
    next = page.next;
    $("more").hidden = next === null;
    $("none").textContent = !page.kept ? "None are kept: start with --incidents FILE.db to keep them." : $("incidents").children.length ? "" : "None so far.";
  } catch { /* the notice at the top says so */ }
}

async function card() {
  const model = await ask("/api/v1/model");
  const figures = model.validation.map((f) => `${f.metric} ${f.value} (${f.data}, ${f.degradation})`);
  list($("model"), [
    ["Name", model.name], ["Architecture", model.architecture], ["Precision", model.precision],
    ["Parameters", model.parameters?.toLocaleString()], ["Region", model.region],
    ["Threshold", percent(model.calibration.threshold)], ["Trained on", model.training.data.replace(/ ?\([^()]*\)/g, "")],
    ["Validation", figures.slice(0, 4).join("; ")], ["Licence", model.licence],
  ]);
}

toggle($("overlay"), () => (overlay = !overlay));
toggle($("heat"), () => (heat = !heat));
$("which").addEventListener("change", () => { newest = ""; $("incidents").replaceChildren(); incidents(); });
$("more").addEventListener("click", () => incidents(true));
setInterval(incidents, 3000);
listen();
card().catch(() => {});
