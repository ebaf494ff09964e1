package gateway

import (
	"fmt"

	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// Bounds on one message of reports.
const (
	maxReports = 1000
	maxItems   = 10_000   // of a proof
	maxLog     = 64 << 10 // bytes of a proof's log
	maxNeeds   = 200
)

// The refusals of reports.
var (
	errReportID    = fault.New(fault.Invalid, "report_id", "A report needs an id of 1 to 64 letters, digits, dots, dashes or underscores.").On("id")
	errManyReports = fault.New(fault.TooLarge, "too_many_reports", "At most %d reports go into one message; send the rest in another.", maxReports)
)

// reports takes journaled results. The device repeats them until their ids come back.
func (g *Gateway) reports(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined // the device keeps them until it is released
	}
	var in wire.Reports
	if err := g.readJSON(c, wire.MaxMessage, &in); err != nil {
		return err
	}
	if len(in.Reports) > maxReports {
		return errManyReports
	}
	for i := range in.Reports {
		if !isName(in.Reports[i].ID) {
			return errReportID
		}
		trim(&in.Reports[i])
	}
	var applied []string
	err := g.durably(c, func() (err error) {
		applied, err = g.Facts.ApplyReports(c.r.Context(), c.device.ID, in.Reports)
		return err
	})
	if err != nil {
		return fmt.Errorf("apply %d reports of device %s: %w", len(in.Reports), c.device.ID, err)
	}
	for _, r := range in.Reports {
		g.metrics.report(r)
	}
	return g.reply(c, wire.ReportsReply{Applied: applied})
}

// trim cuts what is over the caps. Refusing such a report would make the device send it for ever.
func trim(r *wire.Report) {
	for _, s := range []*string{(*string)(&r.Update), (*string)(&r.State), (*string)(&r.Cause), &r.Event} {
		cut(s, 128)
	}
	cut(&r.Detail, wire.MaxString)
	r.Needs = r.Needs[:min(len(r.Needs), maxNeeds)]
	for i := range r.Needs {
		cut(&r.Needs[i], 512)
	}
	if r.Proof == nil {
		return
	}
	p := r.Proof
	cut(&p.Transaction, 128)
	cut(&p.Plan, 128)
	if len(p.Log) > maxLog {
		p.Log = "…" + p.Log[len(p.Log)-maxLog:] // the end says what went wrong
	}
	p.Items = p.Items[:min(len(p.Items), maxItems)]
	for _, list := range []*[]string{&p.Conffiles, &p.Restart} {
		*list = (*list)[:min(len(*list), maxReports)]
		for i := range *list {
			cut(&(*list)[i], wire.MaxString)
		}
	}
	for i := range p.Items {
		it := &p.Items[i]
		for _, s := range []*string{&it.Name, &it.Arch, &it.Version, &it.Status, &it.Previous, &it.SHA256} {
			cut(s, 256)
		}
	}
}
