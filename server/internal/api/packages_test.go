package api_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

func (s *services) Deploy(_ context.Context, x0 auth.Actor, x1 client.DeployRequest) (client.DeployOutcome, error) {
	return answer[client.DeployOutcome](s, "Deploy", x0, x1)
}
func (s *services) Deployments(_ context.Context, x0 auth.Actor) (client.List[client.DeployRow], error) {
	return answer[client.List[client.DeployRow]](s, "Deployments", x0)
}
func (s *services) Undeploy(_ context.Context, x0 auth.Actor, x1 int64) (client.Act, error) {
	return answer[client.Act](s, "Undeploy", x0, x1)
}

// kits is apart because its short names would not tell in one list with all others.
type kits struct{ *services }

func (k kits) Packages(_ context.Context, x0 auth.Actor) (client.List[client.PackageRow], error) {
	return answer[client.List[client.PackageRow]](k.services, "Packages", x0)
}

func (k kits) Package(_ context.Context, x0 auth.Actor, x1 string) (client.PackageRow, error) {
	return answer[client.PackageRow](k.services, "Package", x0, x1)
}

func (k kits) CreatePackage(_ context.Context, x0 auth.Actor, x1 client.PackageRequest) (client.PackageRow, error) {
	return answer[client.PackageRow](k.services, "CreatePackage", x0, x1)
}

func (k kits) DeletePackage(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](k.services, "DeletePackage", x0, x1)
}

// kitText is the file of every package; the one called "short" breaks off.
const kitText = "#!/bin/sh\nexit 0\n"

func (k kits) Download(_ context.Context, x0 auth.Actor, x1 string, x2 client.PackageDownload) (client.Download, error) {
	_, err := answer[client.Act](k.services, "Download", x0, x1, x2)
	size := int64(len(kitText))
	if x1 == "short" {
		size++
	}
	return client.Download{Name: "Kit ä.sh", Size: size, Token: "abcd1234", Until: kitUntil, SHA256: strings.Repeat("a", 64), Body: io.NopCloser(strings.NewReader(kitText))}, err
}

var kitUntil = time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)

// packageRows are the rows about packages and deployments of the table of N07.
func packageRows() []row {
	return []row{
		{"GET", "/packages", readers, "", "Packages", 200},
		{"GET", "/packages/Acme%20Ledger", readers, "", "Package", 200},
		{"POST", "/packages", approvers, `{"update":"u1","name":"Acme Ledger"}`, "CreatePackage", 200},
		{"DELETE", "/packages/p1", approvers, "", "DeletePackage", 200},
		{"POST", "/packages/p1/downloads", approvers, `{"arch":"amd64"}`, "Download", 200},
		{"GET", "/deployments", readers, "", "Deployments", 200},
		{"POST", "/deployments", approvers, `{"package":"p1","to":["Web"]}`, "Deploy", 200},
		{"DELETE", "/deployments/7", approvers, "", "Undeploy", 200},
	}
}

// TestPackageCallsReachTheirServiceWithEverythingTheyWereGiven and a download comes as it was sent.
func TestPackageCallsReachTheirServiceWithEverythingTheyWereGiven(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "administrator")
	who := auth.Actor{Name: "administrator", Role: ledger.Administrator, Scope: fleet.Root}
	ask := client.PackageRequest{Update: "u1", Name: "Acme Ledger", Group: "Web"}
	deploy := client.DeployRequest{Package: "Acme / Ledger", To: []string{"Web"}, Reason: "r", DryRun: true}
	get := client.PackageDownload{Arch: "arm64", TTL: time.Minute}
	ctx := t.Context()
	d, err := c.DownloadPackage(ctx, "a/b", get)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Body.Close()
	body, err := io.ReadAll(d.Body)
	if err != nil || string(body) != kitText || d.Name != "Kit ä.sh" || d.Token != "abcd1234" || !d.Until.Equal(kitUntil) || d.SHA256 != strings.Repeat("a", 64) || d.Size != int64(len(kitText)) {
		t.Errorf("the download came as %+v %q: %v", d, body, err)
	}
	for i, err := range []error{first(c.Packages(ctx)), first(c.Package(ctx, "a/b")), first(c.CreatePackage(ctx, ask)), first(c.DeletePackage(ctx, "p1")),
		first(c.Deploy(ctx, deploy)), first(c.Deployments(ctx)), first(c.Undeploy(ctx, 7))} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	calls := []string{"Download", "Packages", "Package", "CreatePackage", "DeletePackage", "Deploy", "Deployments", "Undeploy"}
	args := [][]any{{who, "a/b", get}, {who}, {who, "a/b"}, {who, ask}, {who, "p1"}, {who, deploy}, {who}, {who, int64(7)}}
	if diff := cmp.Diff(calls, w.calls) + cmp.Diff(args, w.all); diff != "" {
		t.Errorf("they got other arguments (-given +received):\n%s", diff)
	}
}

// TestADownloadThatBreaksOffNeverLooksWhole: the connection breaks, and the client says so.
func TestADownloadThatBreaksOffNeverLooksWhole(t *testing.T) {
	w := newWorld(t)
	d, err := w.connect(t, "administrator").DownloadPackage(t.Context(), "short", client.PackageDownload{})
	if err == nil { // else it broke before the first byte was on the way
		defer d.Body.Close()
		_, err = io.ReadAll(d.Body)
	}
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("reading it to its end: %v", err)
	}
}
