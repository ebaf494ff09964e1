package web

import (
	"net/http"
	"slices"
)

// routes is the whole console: one line for each thing that can be asked, with what the person must hold. Each
// subject's lines stand beside its pages.
func (s *server) routes() []Route {
	return slices.Concat(s.ownRoutes(), s.signInRoutes(), s.overviewRoutes(), s.viewRoutes(), s.listRoutes(), s.operatorExports(), s.trendRoutes(), s.accountRoutes(), s.searchRoutes(), s.deviceRoutes(), s.groupRoutes(), s.ledgerRoutes(), s.eventRoutes(), s.operatorRoutes(), s.tokenRoutes(), s.enrolRoutes(), s.updateRoutes(), s.exceptionRoutes(), s.agreementRoutes(), s.queueRoutes(), s.feedRoutes(), s.channelRoutes(), s.packageRoutes(), s.taskRoutes(), s.rolloutRoutes(), s.rehearsalRoutes())
}

// ownRoutes are what every page needs.
func (s *server) ownRoutes() []Route {
	report := answer(Public, http.MethodPost, "/csp-report", s.violation)
	report.raw = true
	return []Route{
		answer(Public, http.MethodGet, "/static/{hash}/{file...}", s.file),
		report,
		act(Public, "/theme", s.setTheme),
		act(Viewer, "/scope", s.setScope),
	}
}
