package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"assent/client"
)

// TestServers_OneThatLagsSaysSoAndTellsNobodyAnOlderTruth: a server is cut off from the database and does not hear of a decline that
// another one made. Whoever knows nothing of it is served from memory; a device that knows more is sent away, people are told
// that the answer may be old, and nothing can be decided.
func TestServers_OneThatLagsSaysSoAndTellsNobodyAnOlderTruth(t *testing.T) {
	pg := database(t)
	proxy, url := pg.Proxy(t), pg.Database(t)
	s := &several{t: t, url: address(t, url).URLFile}
	s.join()
	s.url = address(t, proxy.URL(url)).URLFile
	lagging := s.join()
	admin := s.servers[0].admin()
	_, dev, _ := s.servers[0].enrol(admin)
	at := []*swarm{{agents: s.servers[0].agents}, {agents: lagging.agents}}
	docs, digests, release := documents()
	for _, one := range at {
		one.docs, one.digests = docs, digests
	}
	d := &drone{http: dev}
	for i := 0; d.plan == "" || i < 4; i++ { // it settles on both
		if _, err := at[i%2].checkIn(t.Context(), d, 0); err != nil {
			t.Fatal(err)
		}
	}
	known := d.counter
	proxy.Cut()
	decide := map[string]any{"updates": []string{release.PURL()}, "status": "declined", "reason": "breaks our reports"}
	if code := s.servers[0].call(http.MethodPost, "/api/v1/decisions", admin, decide, nil); code/100 != 2 {
		t.Fatalf("decline: %d", code)
	}
	if _, err := at[1].checkIn(t.Context(), d, 0); err != nil || d.counter != known {
		t.Errorf("a device that knows of nothing newer is told of act %d, and knew of %d: %v", d.counter, known, err)
	}
	if _, err := at[0].checkIn(t.Context(), d, 0); err != nil || d.counter <= known {
		t.Fatalf("at the server that knows of the decline the device is told of act %d: %v", d.counter, err)
	}
	known = d.counter
	for range 2 {
		reply, err := at[1].checkIn(t.Context(), d, 0)
		if no, ok := err.(later); !ok || no.status != http.StatusServiceUnavailable || no.after <= 0 {
			t.Errorf("the server that lags answers a device that knows more: %+v %v", reply, err)
		}
	}
	if header, status := lagging.status(admin, string(release.ID())); header != "true" || status != "undefined" {
		t.Errorf("the server that lags tells people %q, with the header %q", status, header)
	}
	if r := ask(t, http.DefaultClient, http.MethodPost, "http://"+lagging.api+"/api/v1/decisions", admin, []byte(`{"updates":["`+release.PURL()+`"],"status":"approved"}`)); r.status != 503 || !strings.HasPrefix(r.code, "storage_") {
		t.Errorf("an act at the server that lags: %+v", r)
	}

	proxy.Turn(pg)
	if header, status := lagging.status(admin, string(release.ID())); header != "" || status != "declined" {
		t.Errorf("with the database again people are told %q, with the header %q", status, header)
	}
	await(t, "the device is served again", func() bool { // it may be looked for once in a second
		_, err := at[1].checkIn(t.Context(), d, 0)
		return err == nil
	})
	if d.counter < known {
		t.Errorf("the device is told of act %d and knew of %d", d.counter, known)
	}
}

// status is what people are told of an update's status, and whether the answer may be old.
func (l *live) status(admin, update string) (header, status string) {
	l.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+l.api+"/api/v1/updates/"+update, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+admin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var row client.UpdateRow
	if err := json.NewDecoder(resp.Body).Decode(&row); err != nil {
		l.t.Fatal(err)
	}
	return resp.Header.Get(staleHeader), string(row.Status)
}
