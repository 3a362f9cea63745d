// Columns of tables of class "sortable" sort on a click; without the script they are plain tables.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [parseFloat(value(a)), parseFloat(value(b))];
        if (Number.isNaN(x) && Number.isNaN(y)) return value(a).localeCompare(value(b));
        if (Number.isNaN(x)) return 1;
        if (Number.isNaN(y)) return -1;
        return down ? y - x : x - y;
      });
      body.append(...rows);
    });
  });
}
