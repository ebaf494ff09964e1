package api

import (
	"net/http"
	"slices"
)

// routes is the whole API: one line for each thing that can be asked, with what the caller must hold.
func (s *server) routes() []Route {
	return slices.Concat([]Route{
		// Who is calling.
		route(Public, http.MethodPost, "/sign-in", "sign-in", "Exchange a one-time sign-in token for an access token", s.signIn),
		route(Viewer, http.MethodGet, "/me", "me", "Who am I?", s.me),
		route(Viewer, http.MethodPost, "/sign-out", "sign-out", "End the access token in use", s.signOut),

		// Where things stand.
		route(Viewer, http.MethodGet, "/status", "get-status", "The state of the whole", s.status),
		route(Viewer, http.MethodGet, "/trend", "get-trend", "How a group did over time", s.trend),
		patient(route(Viewer, http.MethodGet, "/changes", "wait-changes", "Wait until something changes", s.changes)),
		route(Viewer, http.MethodGet, "/queue", "list-queue", "List what is on its way", s.queue),
		route(Viewer, http.MethodGet, "/rehearsals", "list-rehearsals", "List what devices found beforehand about what they have still to install", s.rehearsals),
		route(Viewer, http.MethodGet, "/events", "list-events", "List what devices reported, newest first", s.events),
		route(Viewer, http.MethodGet, "/devices/{device}/why/{update}", "why", "Why does this device get, or not get, this update?", s.why),

		// Updates and decisions.
		route(Viewer, http.MethodGet, "/updates", "list-updates", "List updates as seen from a group", s.updates),
		route(Viewer, http.MethodGet, "/updates/{update}", "get-update", "Show an update", s.update),
		route(Approver, http.MethodPost, "/decisions", "decide", "Approve, decline or undefine updates", s.decide),
		route(Approver, http.MethodPost, "/rollbacks", "roll-back", "Put back the versions before an update", s.rollback),
		route(Viewer, http.MethodGet, "/exceptions", "list-exceptions", "List exceptions from declines", s.exceptions),
		route(Approver, http.MethodPost, "/exceptions", "except", "Let an update pass a decline", s.except),
		route(Approver, http.MethodDelete, "/exceptions/{id}", "unexcept", "End an exception", s.unexcept),
		route(Viewer, http.MethodGet, "/updates/{update}/agreements", "list-agreements", "List what must be accepted before an update may install", s.agreements),
		route(Viewer, http.MethodGet, "/updates/{update}/agreements/{sha256}", "get-agreement-text", "The text of an agreement", s.agreementText),
		route(Viewer, http.MethodGet, "/agreements", "list-accepted", "List the agreements that stand accepted", s.accepted),
		route(Approver, http.MethodPost, "/agreements", "accept-agreements", "Accept agreements of an update", s.accept),
		route(Approver, http.MethodPost, "/agreements/withdrawals", "withdraw-agreement", "Take the acceptance of an agreement back", s.withdraw),

		// Saved views of lists.
		route(Viewer, http.MethodGet, "/views", "list-views", "List saved views: one's own and the shared ones", s.listViews),
		route(Viewer, http.MethodPost, "/views", "save-view", "Save a view for oneself or, as an administrator, for everybody", s.saveView),
		route(Viewer, http.MethodDelete, "/views/{id}", "delete-view", "Delete an own view or, as an administrator, a shared one", s.deleteView),

		// Devices and groups.
		route(Viewer, http.MethodGet, "/devices", "list-devices", "List devices", s.devices),
		route(Viewer, http.MethodGet, "/devices/{device}", "get-device", "Show a device", s.device),
		route(Viewer, http.MethodGet, "/devices/{device}/packages", "list-packages-of-device", "List what is installed on a device", s.inventory),
		route(Administrator, http.MethodPost, "/devices/changes", "change-devices", "Move, retire, quarantine or release devices", s.changeDevices),
		route(Approver, http.MethodPost, "/devices/refresh", "refresh-devices", "Ask devices to look for updates now", s.refreshDevices),
		route(Approver, http.MethodPost, "/devices/rehearse", "rehearse-devices", "Ask devices to rehearse their plans now", s.rehearseDevices),
		route(Viewer, http.MethodGet, "/groups", "list-groups", "List the tree of groups", s.groups),
		route(Administrator, http.MethodPost, "/groups", "create-group", "Create a group", s.createGroup),
		route(Administrator, http.MethodPatch, "/groups/{group}", "change-group", "Rename, move or guard a group", s.changeGroup),
		route(Administrator, http.MethodDelete, "/groups/{group}", "delete-group", "Delete an empty group", s.deleteGroup),
		route(Administrator, http.MethodGet, "/tokens", "list-tokens", "List enrolment tokens", s.tokens),
		route(Administrator, http.MethodPost, "/tokens", "create-token", "Make an enrolment token", s.createToken),
		route(Administrator, http.MethodDelete, "/tokens/{id}", "revoke-token", "Revoke an enrolment token", s.revokeToken),

		// People.
		route(AdministratorOfAll, http.MethodGet, "/operators", "list-operators", "List operators", s.operators),
		route(AdministratorOfAll, http.MethodPut, "/operators/{name}", "set-operator", "Add or change an operator", s.setOperator),
		route(AdministratorOfAll, http.MethodDelete, "/operators/{name}", "remove-operator", "Remove an operator with all access", s.removeOperator),
		route(Viewer, http.MethodGet, "/access", "list-access", "List access tokens: one's own, or all", s.accesses),
		route(Viewer, http.MethodPost, "/access", "create-access", "Make an access token", s.createAccess),
		route(Viewer, http.MethodDelete, "/access/{id}", "revoke-access", "Revoke an access token", s.revokeAccess),

		// The ledger shows the whole installation.
		route(ViewerOfAll, http.MethodGet, "/ledger", "list-ledger", "List the ledger, newest first", s.entries),
		route(ViewerOfAll, http.MethodGet, "/ledger/checkpoint", "ledger-checkpoint", "The ledger's signed head and its verifier key", s.checkpoint),
		stream(ViewerOfAll, http.MethodGet, "/ledger/export", "export-ledger", "The whole ledger, for `assent ledger verify`", s.export),
	}, s.peopleRoutes(), s.feedRoutes(), s.packageRoutes(), s.taskRoutes(), s.rolloutRoutes(), s.channelRoutes())
}
