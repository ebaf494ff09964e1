package server

import (
	"net/http"
	"strings"
	"testing"

	"assent/client"
	"assent/fleet"
	"assent/wire"
)

func TestADeviceThatLeavesIsRetiredByItsOwnActInTheLedger(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	admin := l.admin()
	id, dev, _ := l.enrol(admin)
	if code := l.send(dev, wire.PathLeave, nil, nil); code != http.StatusNoContent {
		t.Fatalf("leave: %d", code)
	}
	var detail client.DeviceDetail
	if code := l.call(http.MethodGet, "/api/v1/devices/"+string(id), admin, nil, &detail); code != 200 || detail.State != fleet.Retired || !strings.Contains(detail.Reason, "left by itself") {
		t.Errorf("device: %d %s %q; want it retired with the reason", code, detail.State, detail.Reason)
	}
	var entries client.List[client.LedgerRow]
	if code := l.call(http.MethodGet, "/api/v1/ledger", admin, nil, &entries); code != 200 || len(entries.Items) == 0 || entries.Items[0].By != "device:"+string(id) {
		t.Errorf("ledger: %d %+v; want the device's own act as the newest", code, entries.Items)
	}
	if code := l.send(dev, wire.PathLeave, nil, nil); code == http.StatusNoContent {
		t.Error("it left twice")
	}
}
