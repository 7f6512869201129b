"use strict";
// The page is whole without this. It adds the keys of a tree (WAI-ARIA tree pattern) and opens
// the text of a candidate that is chosen there.

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  const folded = target && target.closest("details");
  if (folded) folded.open = true;
  return target;
}

function plant(tree) {
  const items = [...tree.querySelectorAll('[role="treeitem"]')];
  const level = (item) => Number(item.getAttribute("aria-level"));
  const shown = () => items.filter((item) => !item.parentElement.hidden);
  let current = items.find((item) => item.getAttribute("aria-selected") === "true") || items[0];

  function hold(item) {
    current.tabIndex = -1;
    current = item;
    item.tabIndex = 0;
  }

  function go(item) {
    if (!item) return;
    hold(item);
    item.focus();
  }

  function fold(item, open) {
    item.setAttribute("aria-expanded", String(open));
    let closed = Infinity; // nothing deeper than this is shown
    for (const each of items) {
      if (level(each) <= closed) closed = Infinity;
      each.parentElement.hidden = level(each) > closed;
      if (closed === Infinity && each.getAttribute("aria-expanded") === "false") closed = level(each);
    }
    if (current.parentElement.hidden) hold(item);
  }

  function parent(item) {
    const before = items.slice(0, items.indexOf(item)).reverse();
    return before.find((each) => level(each) < level(item));
  }

  function select(item) {
    for (const each of items) each.setAttribute("aria-selected", String(each === item));
    hold(item);
  }

  const keys = {
    ArrowDown: (item) => go(shown()[shown().indexOf(item) + 1]),
    ArrowUp: (item) => go(shown()[shown().indexOf(item) - 1]),
    ArrowRight: (item, open) => {
      if (open === "false") fold(item, true);
      else if (open === "true") go(shown()[shown().indexOf(item) + 1]);
    },
    ArrowLeft: (item, open) => (open === "true" ? fold(item, false) : go(parent(item))),
    Home: () => go(shown()[0]),
    End: () => go(shown().pop()),
    " ": (item) => item.click(),
  };

  for (const item of items) item.tabIndex = -1;
  if (current) current.tabIndex = 0;
  tree.addEventListener("keydown", (event) => {
    const item = event.target.closest('[role="treeitem"]');
    const act = keys[event.key];
    if (!item || !act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(item, item.getAttribute("aria-expanded"));
  });
  tree.addEventListener("click", (event) => {
    const item = event.target.closest('[role="treeitem"]');
    if (!item) return;
    if (event.target.closest(".twisty") && item.hasAttribute("aria-expanded")) {
      event.preventDefault();
      fold(item, item.getAttribute("aria-expanded") === "false");
      return;
    }
    select(item);
    if (item.hash === location.hash) openTarget(); // no change of the address, so no event
  });
}

function offerAll(button) {
  const folds = [...button.closest(".texts").querySelectorAll(".candidate")];
  const word = () => (button.textContent = folds.every((each) => each.open) ? "Close all" : "Open all");
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = !folds.every((each) => each.open);
    for (const each of folds) each.open = open;
    word();
  });
  for (const each of folds) each.addEventListener("toggle", word);
}

document.querySelectorAll('[role="tree"]').forEach(plant);
document.querySelectorAll(".buttons button").forEach(offerAll);
addEventListener("hashchange", () => {
  const target = openTarget();
  if (target) target.scrollIntoView();
});
openTarget();
