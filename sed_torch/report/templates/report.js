"use strict";
(() => {
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

  // What a table shows: rows with all the words, of a long table the first ones until all are asked for.
  const state = (table) => (table.state ??= { words: [], most: Number(table.dataset.most) });

  const show = (table) => {
    const { words, most } = state(table);
    let found = 0;
    for (const row of table.tBodies[0].rows) {
      if (words.length) row.words ??= row.textContent.toLowerCase();
      const fits = words.every((w) => row.words.includes(w));
      found += fits;
      row.hidden = !fits || found > most;
    }
    const all = table.tBodies[0].rows.length;
    const output = document.querySelector(`output[data-for="${table.id}"]`);
    if (!output) return;
    const cut = found > most;
    output.textContent = (found === all ? `${all} rows` : `${found} of ${all} rows`) + (cut ? `, first ${most} shown` : "");
    const button = document.querySelector(`button[data-for="${table.id}"]`);
    if (button) button.hidden = !cut;
  };

  for (const table of document.querySelectorAll("details.table table")) {
    [...table.tHead.rows[0].cells].forEach((th, column) =>
      th.firstElementChild.addEventListener("click", () => { sort(table, column, th); show(table); }));
    if (table.tBodies[0].rows.length > state(table).most) show(table);
  }
  for (const input of document.querySelectorAll(".filter input")) {
    const table = document.getElementById(input.dataset.for);
    input.addEventListener("input", () => {
      state(table).words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      show(table);
    });
  }
  for (const button of document.querySelectorAll("button.all")) {
    button.addEventListener("click", () => {
      const table = document.getElementById(button.dataset.for);
      state(table).most = Infinity;
      show(table);
    });
  }

  const wide = () => {  // say where there is more to the side than is seen
    for (const box of document.querySelectorAll(".scroll")) {
      box.toggleAttribute("data-wide", box.scrollWidth > box.clientWidth + 1);
    }
  };
  wide();
  addEventListener("resize", wide);
  for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", wide);
})();
