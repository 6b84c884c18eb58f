"use strict";

const WORDS = { fake: "Fake", real: "Real", uncertain: "Uncertain", no_signal: "No signal" };
const MEANING = {
  fake: "looks generated", real: "nothing suspicious",
  uncertain: "cannot tell", no_signal: "no picture comes",
};

const $ = (id) => document.getElementById(id);

/** An element with attributes and children; what is text stays text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A score for people; it never claims certainty. */
function percent(score) {
  if (score === null || score === undefined) return "–";
  const whole = Math.round(100 * score);
  return whole < 1 ? "<1 %" : whole > 99 ? ">99 %" : `${whole} %`;
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const clock = (unix) => new Date(1000 * unix).toLocaleTimeString();
const moment = (unix) => new Date(1000 * unix).toLocaleString();

/** The JSON of an address; an Error with the server's own sentence where it refuses. */
async function ask(address, options = {}) {
  const response = await fetch(address, options);
  const data = await response.json().catch(() => ({}));
  if (!response.ok) {
    const said = typeof data.detail === "string" ? data.detail : response.statusText;
    throw new Error(said || `The server answers ${response.status}.`);
  }
  return data;
}

function list(dl, rows) {
  dl.replaceChildren();
  for (const [name, value] of rows) {
    if (value !== null && value !== undefined && value !== "") {
      dl.append(make("dt", {}, name), make("dd", {}, String(value)));
    }
  }
}
