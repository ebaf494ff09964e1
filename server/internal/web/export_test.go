package web

// Routes is the route table, for the test that calls every line of it.
func Routes() []Route { return (&server{}).routes() }

// Confirms reports whether a route asks for a proof that is not old.
func Confirms(r Route) bool { return r.confirm }
