"use strict";

let pictures = null;
let heat = true;
let working = false;

const SAYS = {
  fake: "This looks as if a generator drew it. The model finds traces in it that photographs hardly ever have.",
  real: "Nothing suspicious was found. That is no proof that it is genuine: good generators leave few traces.",
  uncertain: "The model cannot tell. There is too little evidence for a verdict, either way.",
};

const SURETY = {
  trusted: "signed, and the signer is trusted",
  unknown_signer: "signed by someone whom no trust list vouches for",
  broken: "signed, and the signature does not hold",
  unsigned: "unsigned, anyone can write it",
  observed: "noticed by Patchwatch",
};

function say(status, problem = "") {
  $("status").textContent = status;
  $("status").hidden = !status;
  $("status").classList.toggle("working", Boolean(status));
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

function draw() {
  if (!pictures) return;
  $("shown").src = heat ? pictures.heat : pictures.plain;
  $("heat").setAttribute("aria-pressed", String(heat));
}

function time(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function show(file, score) {
  pictures = score;
  const result = $("result");
  result.className = `card ${score.verdict}`;
  $("verdict").textContent = `${WORDS[score.verdict]}: ${MEANING[score.verdict]}`;
  const chance = score.score === null ? "" : ` By this model, the probability that it is generated is ${percent(score.score)}.`;
  const reason = score.reason ? ` Reason: ${score.reason}.` : "";
  $("words").textContent = `${SAYS[score.verdict] ?? ""}${chance}${reason}`;
  const bar = result.querySelector(".bar");
  bar.hidden = score.score === null;
  bar.querySelector("i").style.width = `${100 * (score.score ?? 0)}%`;
  bar.querySelector("b").style.left = `${100 * score.threshold}%`;
  const limit = bar.querySelector("span");
  limit.textContent = `fake from ${percent(score.threshold)} on`;
  limit.style.left = `${Math.min(85, Math.max(15, 100 * score.threshold))}%`;
  const parts = (score.stretches ?? []).map((s) => `${time(s.begin_s)} to ${time(s.end_s)}`);
  $("moments").hidden = score.kind !== "clip";
  $("moments").textContent = parts.length ? `Looks generated from ${parts.join(", ")}. Its most suspicious moment is shown.` : "Its most suspicious moment is shown.";
  $("shown").alt = `${file.name}: ${WORDS[score.verdict]}, fake ${percent(score.score)}`;
  $("legend").textContent = score.plain === score.heat
    ? "No place in it scores above the threshold, so that the heat map is empty."
    : "Tinted places are those that look generated to the model; the redder, the more.";
  $("says").hidden = score.claims.length === 0;
  $("claims").replaceChildren(...score.claims.map((claim) =>
    make("li", {}, `${claim.value} (${claim.where}; ${SURETY[claim.surety] ?? claim.surety})`)));
  list($("figures"), [
    ["File", file.name], ["Size", `${score.width} × ${score.height} pixels`],
    ["Length", score.seconds === null ? null : `${score.seconds} s`],
    ["Fake for", score.fake_share === null ? null : `${percent(score.fake_share)} of the time`],
    ["Score", score.score], ["Threshold", score.threshold], ["Model", score.model],
  ]);
  result.hidden = false;
  draw();
  result.focus();
}

async function judge(file) {
  if (!file || working) return;
  working = true;
  $("result").hidden = true;
  say(`Judging ${file.name} … a clip may take a minute.`);
  try {
    const score = await ask("/api/v1/score", {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    say("");
    show(file, score);
  } catch (error) {
    const dead = error instanceof TypeError;
    say("", dead ? "The program does not answer, or broke off. Is it still running?" : `${file.name} cannot be judged: ${error.message}`);
  } finally {
    working = false;
  }
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", (event) => { judge(event.target.files[0]); });
$("heat").addEventListener("click", () => { heat = !heat; draw(); });
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  judge(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => judge(event.clipboardData.files[0]));
ask("/api/v1/cameras").then((cameras) => { $("back").hidden = cameras.length === 0; }).catch(() => {});
