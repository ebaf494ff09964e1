package web_test

// fleetRows are the rows of the routes about devices, groups, people and the record.
func fleetRows() []row {
	const readersOfAll, adminsOfAll = "vad", "d"
	return []row{
		{"POST", "/devices/confirm", approvers, "act=refresh&select=web1", 200},
		{"POST", "/devices/change", admins, "act=release&devices=web1", 303},
		{"POST", "/devices/refresh", approvers, "devices=web1", 303},
		{"GET", "/devices/{device}", readers, "", 200},
		{"GET", "/devices/{device}/live", readers, "", 200},
		{"GET", "/devices/{device}/updates", readers, "", 200},
		{"GET", "/devices/{device}/updates.csv", readers, "", 200},
		{"GET", "/devices/{device}/updates.json", readers, "", 200},
		{"GET", "/devices/{device}/why/{update}", readers, "", 200},
		{"GET", "/updates/{update}/why/{device}", readers, "", 200},
		{"GET", "/devices/{device}/why?update={update}", readers, "", 200},
		{"GET", "/groups", readers, "", 200},
		{"GET", "/groups/g-team", readers, "", 200},
		{"POST", "/groups/create", admins, "name=", 422},
		{"POST", "/groups/g-team/change", admins, "", 303},
		{"POST", "/groups/g-none/delete", admins, "", 404},
		{"GET", "/ledger", readersOfAll, "", 200},
		{"GET", "/ledger.csv", readersOfAll, "", 200},
		{"GET", "/ledger.json", readersOfAll, "", 200},
		{"GET", "/ledger/1", readersOfAll, "", 200},
		{"GET", "/ledger/checkpoint", readersOfAll, "", 200},
		{"GET", "/ledger/checkpoint.txt", readersOfAll, "", 200},
		{"GET", "/ledger/export", readersOfAll, "", 200},
		{"GET", "/events", readers, "", 200},
		{"GET", "/events.csv", readers, "", 200},
		{"GET", "/events.json", readers, "", 200},
		{"GET", "/operators", adminsOfAll, "", 200},
		{"GET", "/operators/edit?name=root-v", adminsOfAll, "", 200},
		{"POST", "/operators/set", adminsOfAll, "name=root-v&role=viewer&scope=root", 303},
		{"POST", "/operators/remove", adminsOfAll, "name=root-v", 422},
		{"GET", "/access", readers, "", 200},
		{"POST", "/access/create", readers, "note=x", 200},
		{"POST", "/access/revoke", readers, "id=none", 404},
		{"GET", "/enrol", admins, "", 200},
		{"POST", "/enrol/create", admins, "to=g-team", 200},
		{"POST", "/enrol/revoke", admins, "id=none", 404},
	}
}
