package web

// Routes is the route table, for the test that calls every line of it.
func Routes() []Route { return (&server{}).routes() }
