// Menus are <details class="menu">: they close with Escape, and when something else is clicked.

// Returns what ends it.
export function closingMenus(container) {
  const clicked = ({ target }) => {
    for (const menu of document.querySelectorAll(".menu[open]")) {
      if (!menu.contains(target)) menu.open = false;
    }
  };
  container.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest(".menu[open]");
    if (!menu) return;
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", clicked);
  return () => document.removeEventListener("click", clicked);
}
