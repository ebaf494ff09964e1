// The tree of groups: groups and devices are moved by dragging them onto a group, or with the button Move (key m) and a
// choice of groups. Both send the very forms that the pages of groups and devices send; the answer offers to undo it.
(() => {
  const tree = document.querySelector("[data-tree]");
  const dialog = document.getElementById("move");
  if (!tree || !dialog) return;

  const send = (action, fields) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = action;
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name, value });
      form.append(input);
    }
    document.body.append(form);
    form.requestSubmit();
  };
  const move = (item, to) => {
    if (item.dataset.device) send("/devices/change", { act: "move", to, devices: item.dataset.device, back: "/groups" });
    else send(`/groups/${encodeURIComponent(item.dataset.group)}/change`, { parent: to, was_parent: item.dataset.parent, back: "/groups" });
  };
  // may tells whether an item can go into a group: not where it is, and no group into itself or below itself.
  const may = (item, group) => {
    if (!item || !group) return false;
    if (item.dataset.device) return item.dataset.in !== group.dataset.group;
    return item.dataset.parent !== group.dataset.group && !item.contains(group);
  };

  let held = null;
  const target = (e) => e.target.closest("[data-group]");
  const leave = () => tree.querySelectorAll(".drop").forEach((g) => g.classList.remove("drop"));
  tree.addEventListener("dragstart", (e) => {
    held = e.target.closest("[draggable=true]");
    if (!held) return;
    e.dataTransfer.effectAllowed = "move";
    e.dataTransfer.setData("text/plain", held.dataset.name);
  });
  tree.addEventListener("dragover", (e) => {
    leave();
    if (!may(held, target(e))) return;
    e.preventDefault();
    e.dataTransfer.dropEffect = "move";
    target(e).classList.add("drop");
  });
  tree.addEventListener("dragend", () => { held = null; leave(); });
  tree.addEventListener("drop", (e) => {
    e.preventDefault();
    leave();
    if (may(held, target(e))) move(held, target(e).dataset.group);
    held = null;
  });

  // The same without a pointer.
  let chosen = null;
  const choice = dialog.querySelector("select");
  const dress = () => tree.querySelectorAll("[data-move][hidden]").forEach((b) => { b.hidden = false; });
  tree.addEventListener("click", (e) => {
    const button = e.target.closest("[data-move]");
    if (!button) return;
    chosen = button.closest("[draggable=true]");
    dialog.querySelector("[data-moved]").textContent = chosen.dataset.name;
    for (const option of choice.options) {
      option.disabled = !may(chosen, tree.querySelector(`[data-group="${CSS.escape(option.value)}"]`));
    }
    choice.value = [...choice.options].find((o) => !o.disabled)?.value ?? "";
    dialog.showModal();
    choice.focus();
  });
  dialog.querySelector("form").addEventListener("submit", (e) => {
    if (e.submitter?.value === "move" && choice.value && chosen) move(chosen, choice.value);
  });
  document.addEventListener("htmx:load", dress);
  dress();
})();
