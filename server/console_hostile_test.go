package server

import (
	"bytes"
	"encoding/csv"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/installation"
	"assent/lab/chromium"
	"assent/wire"
)

// evil is what a hostile device says wherever it may say something: markup, script, a turn of the direction of
// writing, a formula, and ten thousand letters.
var evil = "=cmd|' /C calc'!A1<script>document.documentElement.dataset.broken=1</script><img src=x onerror=\"document.documentElement.dataset.broken=1\">\u202egnp.exe\u2066\u200b{{.}}" + strings.Repeat("W", 10_000)

// evilDocuments are a device's documents with that in every text.
func evilDocuments() (map[wire.Kind][]byte, map[wire.Kind]string, catalog.UpdateID) {
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "hello"}, Version: "2.10-3"}
	docs, digests := map[wire.Kind][]byte{}, map[wire.Kind]string{}
	for kind, v := range map[wire.Kind]any{
		wire.KindFacts: wire.Facts{Hostname: evil, OS: evil, OSVersion: evil, Codename: evil, Arch: evil, Kernel: evil, Agent: evil, TimeZone: evil, ManagerHealth: evil, Restart: []string{evil},
			Posture: []wire.Finding{{Code: evil, Detail: evil}}, Origins: []wire.OriginHealth{{Site: evil, Suite: evil, Label: evil, Origin: evil, Problem: evil, Detail: evil}}},
		wire.KindInventory: wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "hello", Arch: "amd64", Version: "2.10-2", Status: evil, Source: "hello", SourceVersion: "2.10-2", How: evil}, {Name: evil, Version: evil}}},
		wire.KindAvailable: wire.Available{Ecosystem: "deb", Updates: []wire.Offer{{Namespace: "debian", Name: evil, Version: evil}, {Namespace: "debian", Name: "hello", Version: "2.10-3", Items: []wire.OfferItem{{
			Item:      catalog.Item{Name: "hello", Arch: "amd64", Version: "2.10-3", Size: 1000, SHA256: strings.Repeat("ab", 32)},
			Installed: "2.10-2", Origin: evil, Summary: evil, Pin: 500, Candidate: true}}}}},
	} {
		body, digest, err := wire.Encode(v)
		if err != nil {
			panic(err)
		}
		docs[kind], digests[kind] = body, digest
	}
	return docs, digests, r.ID()
}

// hostile lets a device enrol under a hostile name, check in and report through the agents' own protocol.
func (l *live) hostile(admin string) (catalog.UpdateID, string) {
	l.t.Helper()
	id, dev, _ := l.enrolAs(admin, evil[:120])
	docs, digests, update := evilDocuments()
	in := func(seq int64) wire.CheckIn {
		return wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: seq, Digests: digests,
			Progress: wire.Progress{LastScan: time.Now(), LastRefresh: time.Now(), Doing: evil, Error: evil}}
	}
	l.send(dev, wire.PathCheckIn, in(1), nil)
	for kind, body := range docs {
		req, err := http.NewRequest(http.MethodPut, "https://"+l.agents+wire.PathDocument+"/"+string(kind)+"/"+digests[kind], bytes.NewReader(body))
		if err != nil {
			l.t.Fatal(err)
		}
		resp, err := dev.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			l.t.Fatalf("upload %s: %d", kind, resp.StatusCode)
		}
	}
	if code := l.send(dev, wire.PathCheckIn, in(2), nil); code != 200 {
		l.t.Fatalf("check in: %d", code)
	}
	if code := l.call(http.MethodPost, "/api/v1/decisions", admin, client.Decide{Updates: []string{string(update)}, Status: approval.Approved}, nil); code != 200 {
		l.t.Fatalf("approve: %d", code)
	}
	now := time.Now().UTC()
	if code := l.send(dev, wire.PathReports, wire.Reports{Reports: []wire.Report{{ID: "1", At: now, Event: evil, Detail: evil}, {ID: "2", At: now, Event: "guard_refused", Detail: evil},
		{ID: "3", At: now, Update: update, State: installation.Assigned, Detail: evil}, {ID: "4", At: now, Update: update, State: installation.Blocked, Cause: installation.NoSpace, Detail: evil, Needs: []string{evil}}}}, nil); code != 200 {
		l.t.Fatalf("report: %d", code)
	}
	return update, string(id)
}

// TestN26_WhatAHostileDeviceSaysIsHarmlessInARealBrowser has it check in over mutual TLS, and looks at every page that
// speaks of it.
func TestN26_WhatAHostileDeviceSaysIsHarmlessInARealBrowser(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	link, err := os.ReadFile(filepath.Join(l.data, signInFile))
	if err != nil {
		t.Fatal(err)
	}
	b := chromium.Open(t, "http://"+l.api)
	b.Open("/sign-in?next=/devices#" + strings.TrimSpace(string(link)))
	b.Await(`document.querySelector("#token").value !== ""`)
	b.Follow(chromedp.Click(".sign-in form button"))
	secret := l.access(b)
	update, device := l.hostile(secret)
	shown := 0
	for _, path := range []string{"/", "/devices", "/devices?columns=name&columns=os&columns=problem&columns=arch&columns=agent", "/devices/" + device, "/devices/" + device + "/updates", "/devices/" + device + "/why/" + string(update),
		"/updates", "/updates?columns=name&columns=summary&columns=origin", "/updates/" + string(update), "/updates/decide?status=declined&select=" + string(update), "/updates/" + string(update) + "/rollback", "/queue", "/events", "/ledger", "/groups", "/search?q=script"} {
		for _, width := range []int64{1440, 390} {
			b.Size(width, 900)
			b.Open(path)
			b.Await(`!document.querySelector(".htmx-request")`)
			if over := b.Overflow(); over > 0 {
				t.Errorf("%s is %d pixels too wide at %d", path, over, width)
			}
		}
		if chromium.Eval[bool](b, `!!document.documentElement.dataset.broken || !document.querySelector("h1") || document.querySelectorAll("img, main script:not([src])").length > 0`) {
			t.Errorf("%s is broken: %s", path, b.Says())
		}
		if chromium.Eval[bool](b, `/[\u200b\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent)`) {
			t.Errorf("%s shows what turns the direction of writing", path)
		}
		if chromium.Eval[bool](b, `document.body.innerText.includes("<script>")`) {
			shown++
		}
	}
	if shown < 8 {
		t.Errorf("only %d pages show what the device said: this test looks at nothing", shown)
	}
	for _, path := range []string{"/devices.csv", "/updates.csv?columns=name&columns=summary&columns=origin", "/queue.csv", "/events.csv"} {
		harmlessCSV(t, path, chromium.Eval[string](b, `fetch("`+path+`").then((r) => r.text())`))
	}
	resp, err := http.Get("http://" + l.api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if reports := regexp.MustCompile(`(?m)^assent_console_csp_reports_total (\d+)$`).FindSubmatch(metrics); reports == nil || string(reports[1]) != "0" {
		t.Errorf("browsers reported blocked things: %s", reports)
	}
}

// access makes an access token at the console, as a person does for a program.
func (l *live) access(b *chromium.Tab) string {
	l.t.Helper()
	b.Open("/access")
	b.Follow(chromedp.Click(`form[action="/access/create"] button`))
	return chromium.Eval[string](b, `document.querySelector("#secret").innerText.trim()`)
}

// harmlessCSV fails for a cell that a spreadsheet would take for a formula.
func harmlessCSV(t *testing.T, path, text string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%s: %d rows, %v", path, len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("%s: a cell begins as a formula: %.60q", path, cell)
			}
		}
	}
}
