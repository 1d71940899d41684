package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A ground of the grid is a kind of database that promises the same durability everywhere.
type gridGround struct {
	driver     string
	durability string // SQLite's synchronous; PostgreSQL's synchronous_commit
}

func (g gridGround) String() string {
	if g.driver == sqliteDriver {
		return "SQLite " + strings.ToUpper(g.durability)
	}
	return "PostgreSQL " + g.durability
}

// durable says whether each commit of the plain driver is synced. Most cases are measured there: without syncs there is little to
// share.
func (g gridGround) durable() bool { return g.durability == "full" || g.durability == "on" }

// of are the ground's of some cases.
func (g gridGround) of(cases []gridCase) []gridCase {
	return slices.DeleteFunc(slices.Clone(cases), func(c gridCase) bool { return c.gridGround != g })
}

var gridGrounds = []gridGround{{sqliteDriver, "full"}, {sqliteDriver, "normal"}, {pgxDriver, "on"}, {pgxDriver, "off"}}

// A gridLoad is what a call does, and by how many callers it is made where the user says nothing.
type gridLoad struct {
	name    string
	shape   *shape // nil: insert a user
	callers []int  // on a durable ground
	relaxed []int  // on another
	fixed   bool   // their number is a part of the gridLoad
}

var insertLoad = gridLoad{name: "insert", callers: []int{1, 8, 64, 256, 1024, 4096}, relaxed: []int{1, 64, 1024}}

var workloads = []gridLoad{
	insertLoad,
	{name: "upsert on 16 keys", shape: hotUpserts, callers: []int{64}},
	{name: "update by key", shape: shapeNamed("updates by key"), callers: []int{64}},
	{name: "INSERT RETURNING", shape: shapeNamed("INSERT RETURNING"), callers: []int{64}},
	{name: "transaction of two inserts", shape: shapeNamed("transactions of two inserts"), callers: []int{64}},
	{name: "half updates, half reads", shape: halfReads, callers: []int{64}},
	{name: "HTTP server, sqlx", shape: served, callers: []int{200}, fixed: true},
}

// usualLoad is the part of the plain driver's best rate at which calls of an open loop arrive.
const usualLoad = .5

// A gridCase is a program in which all columns compete.
type gridCase struct {
	gridGround
	load    gridLoad
	callers int
	open    float64       // calls arrive at this part of the plain driver's rate; 0: a closed loop
	failing int           // calls in 100 that violate a unique key
	sync    time.Duration // a sync takes so long, on a made disk; 0: the disk
}

func (c gridCase) loop() string {
	if c.open > 0 {
		return "open"
	}
	return "closed"
}

// what is the case without its ground.
func (c gridCase) what() string {
	s := c.load.name
	if c.failing > 0 {
		s += fmt.Sprintf(", %d in 100 fail", c.failing)
	}
	if c.sync > 0 {
		s += fmt.Sprintf(", a sync takes %v", c.sync)
	}
	if c.open > 0 {
		return s + fmt.Sprintf(", open loop at %.1f of plain's rate", c.open)
	}
	if c.load.shape != nil && c.load.shape.served {
		return s + ", " + plural(c.callers, "client")
	}
	return s + ", " + plural(c.callers, "caller")
}

func (c gridCase) String() string { return c.gridGround.String() + ", " + c.what() }

// The points of two curves.
var (
	failingShares = []int{1, 5, 20, 50}
	syncPrices    = []time.Duration{100 * time.Microsecond, 300 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond}
)

// curveCallers are those of the curves, and of an open loop while the plain driver's rate is found.
const curveCallers = 64

// casesOf are the cases of a ground. callers replaces the workloads' own, unless it is empty; every has each gridLoad in both loops
// by all of these.
func casesOf(g gridGround, callers []int, every bool) (all []gridCase) {
	for _, w := range workloads {
		for _, n := range w.numbers(g, callers, every) {
			all = append(all, gridCase{gridGround: g, load: w, callers: n})
		}
		if !w.fixed && (every || w.name == insertLoad.name) {
			all = append(all, gridCase{gridGround: g, load: w, callers: curveCallers, open: usualLoad})
		}
	}
	if !g.durable() {
		return all
	}
	for _, percent := range failingShares {
		all = append(all, gridCase{gridGround: g, load: insertLoad, callers: curveCallers, failing: percent})
	}
	if g.driver == sqliteDriver {
		for _, sync := range syncPrices {
			all = append(all, gridCase{gridGround: g, load: insertLoad, callers: curveCallers, sync: sync})
		}
	}
	return all
}

func (w gridLoad) numbers(g gridGround, callers []int, every bool) []int {
	own := w.callers
	switch {
	case every && w.fixed:
	case every:
		own = insertLoad.callers
	case !g.durable():
		own = w.relaxed
	}
	if len(callers) == 0 || w.fixed || len(own) == 0 {
		return own
	}
	return slices.Clone(callers)
}
