package mutation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutation turns one guard off.
type mutation struct {
	name     string
	file     string // from the module's root
	old, new string // text that stands exactly once, and what it becomes
	pkg      string
	run      string // the tests of which at least one must fail
}

var mutations = []mutation{
	{"the decline wall of A3", "approval/evaluate.go", "if len(standing) > 0 {", "if false {", "./approval", "TestA3"},
	{"the decline wall in plans", "approval/evaluate.go", "if len(standing) > 0 {", "if false {", "./plan", "TestPromise2|TestC3"},
	{"the expiry of exceptions", "approval/evaluate.go", "&& in.Now.Before(e.Expires) {", "{", "./approval", "TestA3"},
	{"the reach of declines", "approval/evaluate.go", "if !d.Reach.Later {", "if true {", "./approval", "TestA4"},
	{"approvals binding versions", "approval/evaluate.go", "d.Update == in.ID && d.live(in.Now) {\n\t\t\t\treturn d, true", "d.live(in.Now) {\n\t\t\t\treturn d, true", "./approval", "TestA5"},
	{"the digest check of plans", "plan/compute.go", "case digests[0] != it.SHA256:", "case false:", "./plan", "TestPromise1"},
	{"the revision an approval binds", "plan/compute.go", "rev = d.Rev", "rev += 0 * d.Rev", "./plan", "TestPromise1|TestT3"},
	{"the closure check", "plan/closure.go", "if v.Action == Install && !c.admitClosure(v) {", "if v == nil {", "./plan", "TestV2"},
	{"declined dependencies", "plan/closure.go", "if res := c.status(release); res.Status == approval.Declined {", "if res := c.status(release); res.Status == approval.Declined+\"x\" {", "./plan", "TestV2_ADeclined|TestT3|TestPromise2"},
	{"removals", "plan/closure.go", "case wire.OpRemove:", "case wire.OpRemove:\n\t\treturn true", "./plan", "TestV2_Removal"},
	{"that what is only downloaded is not overdue (V1)", "installation/installation.go", "return downloadOnly && s == Downloaded", "return downloadOnly && s == Downloaded && false", "./server/internal/conductor", "TestV1_WhatATaskOnlyDownloads"},
	{"the cap of devices at the same time (I6)", "slot/slot.go", "if !d.Busy && taken >= limit {", "if !d.Busy && taken >= limit && false {", "./slot", "TestI6_Never"},
	{"counting what is at it without a turn (I6)", "slot/slot.go", "if d.Busy {\n\t\t\ttaken++", "if d.Busy {\n\t\t\ttaken += 0", "./slot", "TestI6_WhatIsAtIt"},
	{"the last moment of a silent device's turn (I6)", "slot/slot.go", "return s, now.Before(s.Until.Add(Grace))", "return s, now.Before(s.Until)", "./slot", "TestI6_Never|TestI6_Silence"},
	{"turns in plans (I6)", "plan/turn.go", "if !c.turn(t) {", "if !c.turn(t) && false {", "./plan", "TestI6"},
	{"turns of restarts (I6)", "plan/turn.go", "&& !c.turn(t) {\n\t\t\tp.When", "&& !c.turn(t) && false {\n\t\t\tp.When", "./plan", "TestI6"},
	{"the end of a plan with the device's turn (I6)", "server/internal/planner/cache.go", "earlier(v.NextExpiry(d, now), result.Ends)", "earlier(v.NextExpiry(d, now), time.Time{})", "./server/internal/conductor", "TestI6_TheStatement"},
	{"that a turn is durable before it shows (I6)", "server/internal/index/slots.go", "if !before.Same(s) {", "if !before.Same(s) && false {", "./server/internal/conductor", "TestI6_WhoseTurn"},
	{"the names of what may go along (T3)", "plan/removal.go", "len(keeping) > 0 || v.terms.None()", "len(keeping) > 0 && false", "./plan", "TestT3_APackageGoes|TestT3_Whatever"},
	{"that a task names what goes, on the device (T3)", "agent/internal/pkgmgr/apt/simulate.go", "if !slices.Contains(want.Removable, c.Name) || ", "if ", "./agent/internal/pkgmgr/apt", "TestT3"},
	{"that the plan names what goes, in the guard (T3)", "agent/internal/guard/check.go", "r.mayGo(tx, l)\n", "(len(r.removable) > 0 || r.mayGo(tx, l))\n", "./agent/internal/guard", "TestT3"},
	{"asking first about what may remove nothing (T3)", "agent/sieve.go", "return len(o.removable()) > 0 }))", "return false }))", "./agent", "TestT3_NothingGoes"},
	{"the walls in the plan", "plan/wire.go", "Deny: c.denies()", "", "./plan", "TestC3|TestPlan"},
	{"quarantine", "plan/compute.go", "case c.in.Device.State != fleet.Active:", "case c.in.Device.State == fleet.Active+\"x\":", "./plan", "TestUnknownHolds"},
	{"the signature of plans", "wire/plan.go", "if !ed25519.Verify(key, pae(s.Body), s.Sig) {", "if false {", "./wire", "TestStatement"},
	{"the type of what is signed", "wire/plan.go", `return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(StatementType), StatementType, len(body), body)`, "return append(fmt.Append(nil), body...)", "./wire", "TestStatement"},
	{"the counter of plans", "wire/plan.go", "case body.Counter < floor:", "case false:", "./wire", "TestStatement"},
	{"the device a plan is for", "wire/plan.go", "case body.Device != device:", "case false:", "./wire", "TestStatement"},
	{"the expiry of plans", "wire/plan.go", "case !now.Before(body.Expires):", "case false:", "./wire", "TestStatement"},
	{"the content a statement binds", "wire/plan.go", "if Digest(plan) != b.Plan {", "if false {", "./wire", "TestStatement"},
	{"the ledger a device follows", "wire/extend.go", "if err := tlog.CheckTree(p, newer, is, older, was); err != nil {", "if err := tlog.CheckTree(p, newer, is, older, was); err == nil && older > newer {", "./wire", "TestPromise2"},
	{"two ledgers of one size", "wire/extend.go", "if was != is {", "if false {", "./wire", "TestPromise2"},
	{"the journal's fsync", "agent/internal/journal/journal.go", "err = j.f.Sync()\n\t}\n\tif err != nil {\n\t\tj.broken", "_ = j.f.Sync()\n\t}\n\tif err != nil {\n\t\tj.broken", "./agent/internal/journal", "TestN49"},
	{"the journal before the transaction", "agent/fly.go", "defer a.touchDown()\n\tif err := a.write(rec); err != nil {", "defer a.touchDown()\n\tif err := a.write(rec); err != nil && false {", "./agent", "TestN49"},
	{"the commit of an act", "server/internal/store/tx.go", "if err := t.Commit(); err != nil {", "if err := t.Commit(); err != nil && false {", "./server/internal/store", "TestN49_AF"},
	{"legal transitions", "installation/installation.go", `return fmt.Errorf("installation state cannot go`, "return nil\n\treturn fmt.Errorf(\"installation state cannot go", "./installation", "TestV1"},
	{"the agreements of a publisher (A7)", "plan/managed.go", "if a, ok := c.pending(v.update); ok {", "if a, ok := c.pending(v.update); ok && false {", "./plan", "TestA7"},
	{"the server that a release needs (A6)", "plan/managed.go", "case !c.atLeast(v, p.MinServer,", "case false && !c.atLeast(v, p.MinServer,", "./plan", "TestA6"},
	{"recalls (A8)", "plan/managed.go", "case p.Revoked != nil:", "case p.Revoked != nil && false:", "./plan", "TestA8"},
	{"the staging of content (C6)", "plan/managed.go", "case c.in.Test:", "case c.in.Test || true:", "./plan", "TestC6"},
	{"content that the test devices refused (C6)", "plan/managed.go", "It never leaves staging\", answer.Act, answer.Reason)\n\t\treturn false", "It never leaves staging\", answer.Act, answer.Reason)", "./plan", "TestC6"},
	{"declined applications staying out (C1)", "plan/compute.go", "case v.Status == approval.Declined && !c.tried(v):", "case false:", "./plan", "TestC1"},
	{"components staying on devices (C5)", "plan/managed.go", "case v.update.Class == catalog.Component:", "case v.update.Class == catalog.Component && false:", "./plan", "TestC5|TestC1_OnlyDeclined"},
	{"the releases that a publisher says replace others (A5)", "catalog/supersede.go", "return newer || u.Names(other)", "return newer", "./server/internal/decide", "TestA5"},
	{"files that were damaged on the server", "server/internal/mirror/proof.go", "err = m.readThrough(ctx, t)", "_ = m.readThrough(ctx, t)", "./server/internal/mirror", "TestADamagedFile"},
	{"files of a bucket that is away", "server/internal/mirror/proof.go", "case content.Unusable(err):", "case content.Unusable(err) && false:", "./server/internal/mirror", "TestN44_FilesInABucket"},
	{"the digest of a large file before it is there", "content/s3/put.go", "if err := m.send(ctx, src, size); err != nil {\n\t\treturn err\n\t}\n\tif err := ended(src); err != nil {", "if err := m.send(ctx, src, size); err != nil {\n\t\treturn err\n\t}\n\tif err := ended(src); err != nil && false {", "./content/s3", "TestALargeFileThatIsNot"},
	{"parts that nobody completes", "content/s3/keep.go", "return freed, s.sweepUnfinished(ctx, before)", "return freed, nil", "./content/s3", "TestN49"},
	{"uploads that may still go on", "content/s3/keep.go", "|| !u.Initiated.Before(before) {", "{", "./content/s3", "TestN49"},
	{"what another server puts while a sweep looks", "content/s3/keep.go", "case !now.LastModified.Before(before):", "case !now.LastModified.Before(before) && false:", "./content/s3", "TestWhatIsPutAgain"},
	{"the time of what is put again", "content/s3/put.go", "err = s.refresh(ctx, s.key(digest))", "err = nil", "./content/s3", "TestAFileThatIsPutAgain"},
	{"files that another server just put", "content/s3/put.go", "o.SetMatchETagExcept(\"*\")", "_ = 0", "./content/s3", "TestTwoServers"},
	{"the size of what a download goes on with", "content/s3/read.go", "body.total != f.size {", "body.total < 0 {", "./content/s3", "TestAFileThatBecame"},
	{"credentials that anybody may read", "content/s3/access.go", "info.Mode().Perm()&0o007 != 0", "false", "./content/s3", "TestN43"},
	{"the keys to a bucket in backups", "server/backup.go", "return true // who has", "return false // who has", "./server", "TestN43_ABackup"},
	{"the chain of a feed's roots", "trust/walk.go", "next, err := w.t.UpdateRoot(b)", "next, err := metadata.Root().FromBytes(b)\n\t\tif err == nil {\n\t\t\tw.t.Root = next\n\t\t}", "./trust", "TestTUF_ARootSigned|TestTUF_AVersion"},
	{"signatures of a feed's targets", "trust/client.go", "if err = chain[i].VerifyDelegate(metadata.TARGETS, m); err == nil {", "if err == nil {", "./trust", "TestOpen|TestHostile"},
	{"the rollback of a feed", "trust/client.go", "_, _ = w.timestamp(b) // expired or signed", "_ = b // expired or signed", "./trust", "TestTUF_Rollback|TestTUF_AReplay|TestClient_NeverGoesBack"},
	{"the signed size and digest of payloads", "trust/trust.go", "got != v.target.SHA256 {", "got == \"\" {", "./trust", "TestVerifier"},
	{"the digest of what a feed puts before apt", "agent/internal/feeds/payload.go", "\t\t}\n\t}\n\treturn d.sum.Verify()\n", "\t\t}\n\t}\n\treturn nil\n", "./agent/internal/feeds", "TestPrepare"},
	{"a feed that is rolled back on a device", "agent/internal/feeds/follower.go", "one.named > v.Timestamp", "one.named > v.Timestamp && false", "./agent/internal/feeds", "TestFollow_AServerThatLags"},
	{"a server that lags behind a device", "agent/internal/feeds/follower.go", "one.named > v.Timestamp", "true", "./agent/internal/feeds", "TestFollow_AServerThatLags"},
	{"the digest of trees", "agent/internal/pkgmgr/tree/fetch.go", "|| hex.EncodeToString(h.Sum(nil)) != it.SHA256) {", ") {", "./agent/internal/pkgmgr/tree", "TestN03"},
	{"the digest of trees that are fetched", "agent/internal/pkgmgr/tree/fetch.go", "n != it.Size || sum != it.SHA256 {", "n != it.Size {", "./agent/internal/pkgmgr/tree", "TestN03|TestFetchBegins"},
	{"the fsync of a tree's files before the switch", "agent/internal/pkgmgr/tree/unpack.go", "return hex.EncodeToString(h.Sum(nil)), f.Sync()", "return hex.EncodeToString(h.Sum(nil)), nil", "./agent/internal/pkgmgr/tree", "TestN48"},
	{"links that lead out of a tree", "archive/entry.go", "if !staysInside(name, e.Target) {", "if false {", "./archive", "TestN11"},
	{"the memory that a compression asks for", "archive/stream.go", "if err := checkXZ(head); err != nil {", "if err := checkXZ(head); err != nil && false {", "./archive", "TestXZ"},
	{"the bound on what an archive unpacks to", "archive/archive.go", "w.bytes -= e.Size; w.bytes < 0 {", "w.bytes -= e.Size; false {", "./archive", "TestWalk_Limits"},
	{"the verdict of a probe (V3)", "agent/land.go", "case met && l.probed[p.Update] != nil:", "case met && l.probed[p.Update] != nil && false:", "./agent", "TestV3_WhatDoesNotPassItsProbe"},
	{"the windows of installs (T4)", "agent/internal/terms/terms.go", "\treturn t.shut(m, shut)\n}", "\tout.Open = true\n\treturn out\n}", "./agent", "TestT4_NoTransaction|TestT4_AllSchedules"},
	{"the last look at the windows (T4)", "agent/fly.go", "(o.lost || o.terms != nil && !o.terms.At(m).Open)", "(o.lost || o.terms != nil && !o.terms.At(m).Open && false)", "./agent", "TestT4_AWindowThatCloses"},
	{"the order of what needs each other", "agent/queue.go", "&& q.holdup(o) == nil {", "{", "./agent", "TestQueue|TestV2_AnUpdateWaits"},
	{"transactions of their own", "agent/queue.go", "(!a.exclusive && !b.exclusive || a.Update == b.Update)", "true", "./agent", "TestQueue|TestEachTransaction"},
	{"the version that is taken off", "agent/order.go", "if f.Version == it.Version && f.Status != \"rc\"", "if f.Status != \"rc\"", "./agent", "TestC1_OnlyTheDeclinedVersion"},
	{"removals that nobody ordered", "agent/internal/guard/check.go", "&& !ordered && !reinstalled(tx, l)", "&& !ordered && !reinstalled(tx, l) && false", "./agent/internal/guard", "TestCheckDecisionTable"},
	{"packages judged by trees of their name", "agent/internal/guard/check.go", "if !it.Format.Side() && !yield(it) {", "if !yield(it) {", "./agent/internal/guard", "TestNoPackageIsJudged"},
	{"the gate of rings in plans (T6)", "plan/terms.go", "open, why := rollout.Opens(state, rollout.Place(t.Rings, c.in.Path))\n\t\tif !open {", "open, why := rollout.Opens(state, rollout.Place(t.Rings, c.in.Path))\n\t\tif !open && false {", "./server/internal/conductor", "TestT6_ABadUpdate|TestT6_TwoTasks"},
	{"the halt of a ring that fails (T6)", "rollout/advance.go", "if why.Code == \"\" {\n\t\treturn false\n\t}", "if why.Code != \"\" || true {\n\t\treturn false\n\t}", "./server/internal/conductor", "TestT6_ABadUpdate"},
	{"a scan that overrules a probe (V3)", "server/internal/index/install.go", "row.Cause == installation.ProbeFailed && e.has", "row.Cause == installation.ProbeFailed && false && e.has", "./server/internal/conductor", "TestV3_AScan"},
	{"how an update came in the outcome of rings (V4)", "server/internal/conductor/outcome.go", "return how == byAssent", "return how != \"\"", "./server/internal/conductor", "TestV4"},
	{"that a declined update opens no ring (T6)", "server/internal/conductor/step.go", "still := t.wanted == 0 && len(m.task.Rings) > 0", "still := false && len(m.task.Rings) > 0", "./server/internal/conductor", "TestT6_ADeclined"},
	{"what others wrote in a transaction that ended late", "server/internal/store/changes.go", "AND NOT pg_visible_in_snapshot(stamp, CAST(CAST(? AS TEXT) AS pg_snapshot))", "AND stamp >= pg_snapshot_xmax(CAST(CAST(? AS TEXT) AS pg_snapshot))", "./server/internal/store", "TestPostgres/AChangeThatEndsLate"},
	{"the fence of a holder that stood still", "server/internal/store/tx.go", "if err := t.fence(bounded); err != nil {", "if err := t.fence(bounded); err != nil && false {", "./server/internal/store", "TestSQLite/AHolder"},
	{"rows that another server wrote first", "server/internal/store/installs.go", "if err == nil && n < int64(len(rows)) {", "if err == nil && n < 0 {", "./server/internal/store", "TestSQLite/InstallsAreReplaced"},
	{"steps that a device told another server", "server/internal/index/install.go", "if x.shared && try == 0 && batch.refused > 0 {", "if x.shared && try == 0 && batch.refused > 0 && false {", "./server/internal/index", "TestNoServerWrites"},
	{"acts of other servers in what is refused", "server/internal/index/act.go", "if x.behind(ctx) {", "if x.behind(ctx) && false {", "./server/internal/index", "TestAnActIsJudged"},
	{"clones that are split over two servers", "server/internal/gateway/join.go", "before := all[i]; r.low <= before.high {", "before := all[i]; r.low <= before.high && false {", "./server/internal/gateway", "TestN31_ACloneThatIsSplit"},
	{"copies of a running machine at two servers", "server/internal/gateway/join.go", "o.seen&l.own", "o.seen&0", "./server/internal/gateway", "TestN31_CopiesOfARunning"},
	{"a truth older than the one a device has seen", "server/internal/planner/planner.go", "if fresh && was.rests >= acts {", "if fresh {", "./server/internal/planner", "TestAStatementRestsOn"},
	{"that a server that lags sends devices away", "server/internal/gateway/others.go", "return errBehind.Because(err)", "return nil", "./server", "TestServers_OneThatLags"},
	{"what is asked for beside a clock that is ahead", "server/internal/gateway/session.go", "at = before.Add(time.Microsecond)", "_ = before", "./server/internal/gateway", "TestServers_WhatSomebodyAsks"},
	{"that old answers say so", "server/http.go", "w.Header().Set(staleHeader, \"true\")", "", "./server", "TestServers_OneThatLags"},
	{"acts that a stopping server began", "server/http.go", "f.ending()\n", "f.ending()\n\tstop()\n", "./server", "TestAServerThatStops"},
	{"what people read at several servers", "server/services.go", "r.face.fresh = r.peers.Fresh", "_ = r.peers.Fresh", "./server", "TestServers_ActsAreLinear"},
	{"the keys of a second server", "server/shared_keys.go", "if pinned.LedgerKey != own {", "if pinned.LedgerKey != own && false {", "./server", "TestServers_OneWithOtherKeys"},
	{"the verification of a passkey's person", "server/internal/signin/passkey.go", "UserVerification: protocol.VerificationRequired}", "UserVerification: protocol.VerificationPreferred}", "./server/internal/signin", "TestN18_WhatIsNotExactlyRight"},
	{"a passkey's counter", "server/internal/signin/passkey.go", "if !key.Authenticator.CloneWarning {", "if ok = true; false {", "./server/internal/signin", "TestN18_ACounter"},
	{"the limit on guessing", "server/internal/auth/limit.go", "over > 0 {", "over > 0 && false {", "./server/internal/signin", "TestN22_Guessing"},
	{"the signature of webhooks", "server/internal/notify/webhook.go", "EncodeToString(mac.Sum(nil))", "EncodeToString(mac.Sum(nil)[:0])", "./server/internal/notify", "TestADeclineIsTold"},
	{"redirects of receivers to other hosts", "server/internal/notify/guard.go", "r.URL.Host != first.Host ||", "", "./server/internal/notify", "TestAWebhookFollows"},
	{"TLS before a mail password", "server/internal/notify/mail.go", "case !local(remote) || secret != \"\":", "case !local(remote):", "./server/internal/notify", "TestAMailServerThat"},
	{"the sealing of channels' secrets", "server/internal/notify/seal.go", "return s.aead.Seal(nonce, nonce, []byte(secret), []byte(channel))", "return append(nonce, secret...)", "./server/internal/notify", "TestSecretsAreShown"},
	{"what a flapping device may tell", "server/internal/notify/condition.go", "now.Sub(t.At) < again:", "now.Sub(t.At) < again && false:", "./server/internal/notify", "TestAFlapping"},
	{"the end of sessions", "server/internal/signin/session.go", "return now.Sub(s.lastSeen(one)) < idleLife && now.Before(one.Until)", "return !now.IsZero()", "./server/internal/signin", "TestN22_ASessionEnds"},
	{"filters of other products that are nothing here", "migrate/aws.go", "default:\n\t\treturn e.cannot(f)", "default:\n\t\treturn true", "./migrate", "TestEveryFilter"},
	{"what unattended-upgrades never installs", "migrate/unattended.go", "parts = append(parts, filter.not+c)", "_ = c", "./migrate", "TestUnattended"},
	{"declines that an import would lift", "migrate/resolve.go", "case d.Status == approval.Approved && slices.ContainsFunc(", "case d.Status == approval.Approved+\"x\" && slices.ContainsFunc(", "./migrate", "TestResolveTells"},
	{"declines against approvals of one import", "migrate/resolve.go", "if d.Status == approval.Declined {", "if d.Status == approval.Approved {", "./migrate", "TestResolveTells"},
	{"the hash of a session's cookie", "server/internal/signin/session.go", "return hex.EncodeToString(sum[:])", "return cookie + hex.EncodeToString(sum[:0])", "./server/internal/signin", "TestN43"},
	{"the proof before privileged acts", "server/internal/signin/confirm.go", "return s.Now().Sub(one.Confirmed) < freshLife", "return s.Now().Sub(one.Confirmed) < 9*idleLife", "./server/internal/web", "TestN22_Privileged"},
	{"the pace of one device", "server/internal/gateway/http.go", "owes > 0 && !rt.bulk {", "owes > 0 && !rt.bulk && false {", "./server/internal/gateway", "TestN28_ADevice"},
	{"handshakes that stop in the middle", "server/internal/gateway/deadline.go", "c.hands.leave()\n\tn, err", "n, err", "./server/internal/gateway", "TestOverload_AHandshake"},
	{"the turn of handshakes", "server/internal/gateway/deadline.go", "return n, c.hands.enter()", "return n, nil", "./server/internal/gateway", "TestOverload_Handshakes"},
	{"a slow database beside check-ins", "server/internal/gateway/http.go", "g.leave(c)\n\twho :=", "who :=", "./server/internal/gateway", "TestOverload_ASlow"},
	{"uploads that do not move", "server/internal/gateway/body.go", "next := time.Now().Add(m.within)", "next := m.until", "./server/internal/gateway", "TestN09_AnUpload"},
	{"certificates on resumed sessions (N32)", "server/internal/gateway/tls.go", "_, err := g.identify(cs.PeerCertificates[0])", "var err error", "./server/internal/gateway", "TestN32_WhoLostItsRight"},
	{"the right to a plan while a device waits (N32)", "server/internal/gateway/park.go", "if c.device, err = g.current(p.peer); err != nil {", "if c.device, err = g.current(p.peer); err != nil && false {", "./server/internal/gateway", "TestN32_WhoLosesTheRight"},
	{"long polls that are quarantined while they wait", "server/internal/gateway/park.go", "if c.device.State != fleet.Active {", "if c.device.State != fleet.Active && false {", "./server/internal/gateway", "TestN32_WhoLosesTheRight"},
	{"late wakes of a long poll", "server/internal/gateway/park.go", "if p.reading {", "if true {", "./server/internal/gateway", "TestAWakeThatComesLate"},
	{"the places that long polls take along", "server/internal/gateway/park.go", "p.session.leave()", "_ = p.session", "./server/internal/gateway", "TestManyLongPollsAndOther"},
	{"requests that come with a long poll", "server/internal/gateway/park.go", "if buffered.Reader.Buffered() != 0 {", "if buffered.Reader.Buffered() != 0 && false {", "./server/internal/gateway", "TestARequestThatCame"},
	{"long polls of a server that stops", "server/internal/gateway/park.go", "for p := range l.held {\n\t\tp.end()", "for p := range l.held {\n\t\tp.again()", "./server/internal/gateway", "TestServerShutdownEndsLongPolls"},
	{"connections that rest while a server stops", "server/internal/gateway/park.go", "s == silence && !p.g.ending.Load()", "s == silence", "./server/internal/gateway", "TestAConnectionThatRestsAfterALongPollHolds"},
	{"connections that rest for ever", "server/internal/gateway/park.go", "until := time.Now().Add(p.g.Limits.IdleTimeout)", "until := time.Now().Add(time.Hour)", "./server/internal/gateway", "TestAConnectionThatRestsAfterALongPollIsClosed"},
	{"a byte of the next request that ends a long poll", "server/internal/gateway/deadline.go", "if c.early && len(p) > 0 {", "if c.early && len(p) > 1<<30 {", "./server/internal/gateway", "TestWhatADeviceSays"},
	{"the memory of large messages", "server/internal/gateway/body.go", "g.bodies.Add(int64(size)) > g.Limits.Bodies", "g.bodies.Add(int64(size)) < 0", "./server/internal/gateway", "TestOverload_Large"},
	{"rehearsals that find something", "agent/rehearse_run.go", "if u.Cause == \"\" {\n\t\tu.Cause, u.Detail, u.Needs = explain(f.plan, o, r)", "if u.Cause == \"x\" {\n\t\tu.Cause, u.Detail, u.Needs = explain(f.plan, o, r)", "./agent", "TestRehearsal_Finds"},
	{"room that a rehearsal looks for", "agent/rehearse_run.go", "if err := a.opt.Foresee.Room(tx); err != nil {\n\t\troomy", "if err := a.opt.Foresee.Room(tx); err != nil && false {\n\t\troomy", "./agent", "TestRehearsal_Finds"},
	{"rings that are rehearsed", "agent/rehearse_run.go", "return c == installation.RingNotOpen ||", "return", "./agent", "TestRehearsal_OfARing"},
	{"rehearsals giving way", "agent/rehearse.go", "a.endRehearsal(errCarrying)", "_ = errCarrying", "./agent", "TestRehearsal_GivesWay"},
	{"files that a rehearsal misses", "agent/internal/pkgmgr/apt/ask.go", "case code == http.StatusNotFound || code == http.StatusGone:", "case code == http.StatusGone:", "./agent/internal/pkgmgr/apt", "TestForesee_Tells"},
	{"rehearsals that are stale", "server/internal/decide/rehearsals.go", "digest != r.Plan ||", "digest != r.Plan && digest == \"x\" ||", "./server/servertest", "TestRehearsals_BecomeStale"},
	{"the place of a device that comes while rollouts are looked at", "server/internal/conductor/conductor.go", "devices = max(devices, int(todo.Maximum())+1)", "devices = max(devices, int(todo.Maximum()))", "./server/internal/conductor", "TestStains_"},
	{"the place of a device that comes while the board is drawn", "server/internal/planner/board.go", "devices = max(devices, uint64(todo.Maximum())+1)", "devices = max(devices, uint64(todo.Maximum()))", "./server/internal/planner", "TestBoard_"},
	{"devices of an act that was not written", "server/internal/index/successor.go", "after.Devices = only(s.Devices, ids...)", "_, after.Devices = ids, s.Devices", "./server/internal/index", "TestA2_ActsOnDevices"},
	{"that a device stopped being active", "server/internal/index/device.go", "x.standings++", "", "./server/internal/index", "TestStandings_"},
	{"one call's failure among others", "server/internal/store/gather.go", "t.done <- g.write(ctx, []T{t.item})", "t.done <- err", "./server/internal/store", "TestGather_OneThat"},
	{"a caller who hangs up among others", "server/internal/store/gather.go", "g.together(context.WithoutCancel(ctx), batch)", "g.together(ctx, batch)", "./server/internal/store", "TestGather_ACaller"},
	{"the ledger that a kept proof is for", "server/extend.go", "ok && p.newer == newer {", "ok {", "./server", "TestProofs"},
	{"that a list counts only the devices of its group", "server/internal/decide/list.go", "set.GetCardinality() - set.AndCardinality(s.others)", "set.GetCardinality() - 0*set.AndCardinality(s.others)", "./server/internal/decide", "TestListsOfUpdates"},
	{"that a state which sizes do not prove is counted", "server/internal/decide/list.go", "return have > taken ||", "return have+1 > taken ||", "./server/internal/decide", "TestListsOfUpdates"},
	{"the place of a device that is enrolled later in lists", "server/internal/index/roll.go", "slices.Insert(r.names, i, rec.number)", "slices.Insert(r.names, 0*i, rec.number)", "./server/internal/decide", "TestListsOfDevices"},
	{"devices that leave a list's set", "server/internal/index/roll.go", "r.states[was.State].Remove(rec.number)", "", "./server/internal/decide", "TestListsOfDevices"},
	{"devices of one name in a list from its end", "server/internal/decide/page.go", "for begin > 0 && p.less", "for begin > 0 && false && p.less", "./server/internal/decide", "TestListsOfDevices"},
	{"a renewed key", "server/internal/index/act.go", "case ledger.DeviceRenew:\n\t\treturn x.placed([]fleet.DeviceID{b.ID})\n", "", "./server/internal/index", "TestARenewed"},
	{"the swarm's addresses", "bench/swarm/swarm.go", "!ip.IsLoopback() {", "!ip.IsLoopback() && false {", "./bench/swarm", "TestSwarm_Speaks"},
	{"the retention of reports", "server/internal/store/prune.go", "if total += n; n < pruneBatch {", "if total += n; n >= 0 {", "./server/internal/store", "TestSQLite/OldReports"},
	{"reports of devices whose clock is wrong", "server/internal/store/prune.go", "WHERE id < ? ORDER BY id LIMIT ?)`, first, pruneBatch)", "WHERE at < ? ORDER BY id LIMIT ?)`, before.UnixMicro(), pruneBatch)", "./server/internal/store", "TestSQLite/OldReports"},
	{"scans that a transaction has overtaken", "agent/observe.go", "a.docs = a.announced ", "_ = a.announced ", "./agent", "TestV3_AScanIsNotAnnounced"},
	{"what waits for a database at the start", "server/await.go", "|| said.Code != \"storage_unavailable\" ||", "|| said.Code != \"\" ||", "./server", "TestADatabaseThatIsAway"},
}

func TestEveryGuardHasATestThatMissesIt(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			out, err := run(t, root, m)
			if err == nil {
				t.Errorf("turned off %s in %s, and %s in %s stayed green", m.name, m.file, m.run, m.pkg)
			} else if !strings.Contains(out, "--- FAIL") {
				t.Fatalf("no test failed; the mutation does not build:\n%s", out)
			}
		})
	}
}

// run tests the mutated program and returns what go test said.
func run(t *testing.T, root string, m mutation) (string, error) {
	t.Helper()
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%q stands %d times in %s, want once", m.old, n, m.file)
	}
	dir := t.TempDir()
	mutant := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(mutant, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-count=1", "-vet=off", "-run", m.run, m.pkg}
	if usesRapid(t, filepath.Join(root, m.pkg)) {
		args = append(args, "-args", "-rapid.nofailfile") // a mutant's failure is no seed to keep
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	// By way of the environment it also reaches the programs that the tests build themselves, to be killed.
	cmd.Env = append(os.Environ(), strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlayFile))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// usesRapid reports whether a package's tests know rapid's flags.
func usesRapid(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"pgregory.net/rapid"`) {
			return true
		}
	}
	return false
}
