package web_test

import (
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"assent/fleet"
)

// TestGroups_TheTreeShowsTheDevicesOfTheVeryGroup and offers to move only what the person may move.
func TestGroups_TheTreeShowsTheDevicesOfTheVeryGroup(t *testing.T) {
	s := newSite(t)
	s.Group("g-sub", "Sub", "g-team")
	s.Device("sub1", "g-sub")
	page := expect(t, s.browser(s.tokens["v"]).get("/groups/g-team/devices"), 200)
	has(t, page, ">web1<")
	lacks(t, page, "sub1", "data-move", "draggable=\"true\"")
	page = expect(t, s.browser(s.tokens["D"]).get("/groups"), 200)
	has(t, page, `data-group="g-sub" data-parent="g-team" data-name="Sub" draggable="true"`)
	lacks(t, page, `data-group="g-team" data-parent="root" data-name="Team" draggable="true"`) // the top of their own part
	lacks(t, expect(t, s.browser(s.tokens["v"]).get("/groups"), 200), "draggable=\"true\"", "tree.js")
	list := expect(t, s.browser(s.tokens["v"]).get("/devices?group=g-team&here=true"), 200)
	has(t, list, ">web1<", "itself, not below it")
	lacks(t, list, ">sub1<")
}

// TestGroups_AMoveInTheTreeIsUndoneThere for a group and for a device.
func TestGroups_AMoveInTheTreeIsUndoneThere(t *testing.T) {
	s := newSite(t)
	s.Group("g-sub", "Sub", "g-team")
	b := s.browser(s.tokens["d"])
	for _, step := range []struct {
		path string
		form url.Values
		says string
	}{
		{"/groups/g-sub/change", url.Values{"parent": {"root"}, "was_parent": {"g-team"}, "back": {"/groups"}}, "Moved the group Sub below All devices."},
		{"/devices/change", url.Values{"act": {"move"}, "to": {"g-sub"}, "devices": {string(s.device.ID)}, "back": {"/groups"}}, "Moved 1 device to Sub."},
	} {
		res := b.post(step.path, step.form)
		if to := res.Header.Get("Location"); to != "/groups" {
			t.Errorf("%s leads to %q: %s", step.path, to, text(t, res))
		}
		has(t, expect(t, b.get("/groups"), 200), step.says, ">Undo<", `name="back" value="/groups"`)
	}
}

// TestBrowser_GroupsAndDevicesAreDraggedAndMovedByKeyboard in a real browser, and a move into itself is none.
func TestBrowser_GroupsAndDevicesAreDraggedAndMovedByKeyboard(t *testing.T) {
	s := newSite(t)
	s.Group("g-a", "Alpha", fleet.Root)
	s.Group("g-b", "Beta", "g-a")
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/groups")
	drag := func(from, to string) bool {
		return js[bool](b, `(() => {
			const data = new DataTransfer(), fire = (on, kind) => on.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
			const from = document.querySelector('`+from+`'), to = document.querySelector('`+to+`');
			fire(from, "dragstart");
			const taken = !fire(to, "dragover");
			fire(to, "drop");
			fire(from, "dragend");
			return taken;
		})()`)
	}
	if drag(`[data-group=g-a]`, `[data-group=g-b]`) || drag(`[data-group=g-b]`, `[data-group=g-a]`) {
		t.Error("a group goes below itself, or to where it is")
	}
	if !drag(`[data-group=g-b]`, `[data-group=g-team]`) {
		t.Error("a group cannot be dropped on another")
	}
	b.await(`document.querySelector(".toasts")?.innerText.includes("Moved the group Beta below Team.") && location.pathname === "/groups"`)
	b.keep("groups-tree")
	b.follow(chromedp.Click(`.toasts form button`))
	b.await(`document.querySelector("[data-group=g-b]").dataset.parent === "g-a"`)

	js[bool](b, `document.querySelector("[data-group=g-team] > details summary").click(); true`)
	b.await(`document.querySelector("[data-device]") !== null`)
	if !drag(`[data-device]`, `[data-group=g-b]`) {
		t.Error("a device cannot be dropped on a group")
	}
	b.await(`document.querySelector(".toasts")?.innerText.includes("Moved 1 device to Beta.")`)

	b.open("/groups")
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("m")) // the first below the root
	b.await(`document.querySelector("#move[open]") !== null && document.querySelector("[data-moved]").innerText === "Alpha" && document.querySelector("#move option[value=g-b]").disabled`)
	js[bool](b, `document.querySelector("#move-to").value = "g-team"; true`)
	b.follow(chromedp.KeyEvent("\r"), chromedp.Click(`#move button[value=move]`))
	b.await(`document.querySelector(".toasts")?.innerText.includes("Moved the group Alpha below Team.")`)
}
