package journal

// Point names a place in the agent where a power cut or a kill would hurt most. In a build with the tag
// crashtest the environment variable ASSENT_CRASH_AT=NAME or NAME:N kills the process with SIGKILL the
// first or the N-th time it gets there; every other build has no such code.
type Point string

// The points, in the order in which an installation meets them. A test kills the agent at each, and
// fails for a point that it cannot reach.
const (
	SequenceReserved Point = "sequence_reserved" // a block of check-in numbers is durable, none used
	Uploaded         Point = "uploaded"          // a document is on the server, not yet checked in again
	FloorRaised      Point = "floor_raised"      // a newer statement is verified, its plan not fetched
	PlanFetched      Point = "plan_fetched"      // the plan is verified and not yet durable
	PlanStored       Point = "plan_stored"       // the plan is durable, the fence not yet up
	PlanFenced       Point = "plan_fenced"       // the fence is up, nothing done yet
	RecordTorn       Point = "record_torn"       // half a journal record is on disk
	RecordWritten    Point = "record_written"    // a journal record is durable, its step not taken
	Fetched          Point = "fetched"           // the files are there, not yet journaled
	Remembered       Point = "remembered"        // the previous versions are noted
	FlightFiled      Point = "flight_filed"      // the transaction is journaled, not started
	Applied          Point = "applied"           // the package manager is done, its result not journaled
	Verified         Point = "verified"          // the result is known, not journaled
	Probed           Point = "probed"            // the health probes gave their answers, not journaled
	Landed           Point = "landed"            // the result is journaled
	ReportsSent      Point = "reports_sent"      // the server has the reports, the agent does not know
	ReportsForgotten Point = "reports_forgotten" // the agent knows that the server has them
	Compacting       Point = "compacting"        // a shorter journal is about to replace the long one
	RenewKeyStored   Point = "renew_key_stored"  // the next key is durable, the server does not know it
	RenewGranted     Point = "renew_granted"     // the server gave a new certificate, which is not durable
)

// Points lists all points.
func Points() []Point {
	return []Point{SequenceReserved, Uploaded, FloorRaised, PlanFetched, PlanStored, PlanFenced, RecordTorn, RecordWritten,
		Fetched, Remembered, FlightFiled, Applied, Verified, Probed, Landed, ReportsSent, ReportsForgotten, Compacting,
		RenewKeyStored, RenewGranted}
}
