"use strict";
(() => {
  document.documentElement.classList.add("js");
  const text = new Intl.Collator("en", { numeric: true });

  // What a cell sorts by: a number, a string, or null for what is missing.
  const key = (cell, number) => {
    const given = cell.getAttribute("data-v");
    if (given === "") return null;
    if (given !== null) return Number(given);
    const shown = cell.textContent.trim();
    if (shown === "–" || shown === "") return null;
    return number && Number.isFinite(Number(shown)) ? Number(shown) : shown;
  };

  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : text.compare(String(a), String(b));

  const sort = (table, column, heading) => {
    const number = heading.classList.contains("n");
    const before = heading.getAttribute("aria-sort");
    // Numbers begin with the largest: for scores that is the best.
    const down = before ? before === "ascending" : number;
    const rows = [...table.tBodies[0].rows].map((row, i) => [key(row.cells[column], number), i, row]);
    rows.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return (down ? compare(b, a) : compare(a, b)) || i - j;
    });
    table.tBodies[0].append(...rows.map((r) => r[2]));
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  const filter = (table, words, output) => {
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.words ??= row.textContent.toLowerCase();
      row.hidden = !words.every((w) => row.words.includes(w));
      shown += !row.hidden;
    }
    const all = table.tBodies[0].rows.length;
    output.textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
  };

  for (const table of document.querySelectorAll("details.table table")) {
    [...table.tHead.rows[0].cells].forEach((th, column) =>
      th.firstElementChild.addEventListener("click", () => sort(table, column, th)));
  }
  for (const input of document.querySelectorAll(".filter input")) {
    const { parentElement: label } = input;
    const output = label.parentElement.querySelector("output");
    const table = document.getElementById(input.dataset.for);
    input.addEventListener("input", () =>
      filter(table, input.value.toLowerCase().split(/\s+/).filter(Boolean), output));
  }
})();
