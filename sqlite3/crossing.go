//go:build linux && cgo && !groupcommit_driver

package sqlite3

// How a segment goes to SQLite in one call into C. go-sqlite3 has no such call, so this file calls the same SQLite beside it, by
// SQLite's public functions and on the handles of go-sqlite3's statements. It would not be needed if go-sqlite3 had
//
//	// ExecMany executes statements one after the other, and returns how many have succeeded.
//	func (c *SQLiteConn) ExecMany(steps []Step, results []SQLiteResult) (done int, err error)
//	type Step struct { Stmt *SQLiteStmt; Args []driver.NamedValue }
//
// Rejected: linker flags that let the names be undefined, in place of weak ones. They hold for the program that imports the package, too,
// and its own undefined names would be found when it runs. macOS's linker wants such a flag, so the package does it on Linux only.

/*
#include <stdint.h>
#include <string.h>
#include <time.h>

// The functions of SQLite that go-sqlite3 brings, with void for sqlite3.h's structs. They are weak, because cgo links each package
// by itself first. Where the program's linker finds none either, they are null.
#define SQLITE(result, name, ...) extern result sqlite3_##name(__VA_ARGS__) __attribute__((weak))

SQLITE(int, reset, void *);
SQLITE(int, step, void *);
SQLITE(int, clear_bindings, void *);
SQLITE(int, bind_null, void *, int);
SQLITE(int, bind_int64, void *, int, long long);
SQLITE(int, bind_double, void *, int, double);
SQLITE(int, bind_text64, void *, int, const char *, unsigned long long, void (*)(void *), unsigned char);
SQLITE(int, bind_blob64, void *, int, const void *, unsigned long long, void (*)(void *));
SQLITE(void *, db_handle, void *);
SQLITE(long long, last_insert_rowid, void *);
SQLITE(int, changes, void *);
SQLITE(const char *, sql, void *);
SQLITE(const char *, sourceid, void);
SQLITE(int, prepare_v2, void *, const char *, int, void **, const char **);
SQLITE(int, finalize, void *);
SQLITE(long long, column_int64, void *, int);

enum { OK = 0, ROW = 100, DONE = 101, UTF8 = 1 };

// The Go types have the same names: see segment.
typedef struct { int64_t bits; int32_t size; int32_t kind; } value;
typedef struct { uint64_t statement; int64_t id, changes; int32_t first, n; } step;

static int bind(void *st, int i, const value *v, const char *text) {
	double f;
	switch (v->kind) {
	case 1:
		return sqlite3_bind_int64(st, i, v->bits);
	case 2:
		memcpy(&f, &v->bits, sizeof f);
		return sqlite3_bind_double(st, i, f);
	case 3:
		return sqlite3_bind_text64(st, i, text + v->bits, v->size, 0, UTF8);
	case 4:
		return sqlite3_bind_blob64(st, i, text + v->bits, v->size, 0);
	}
	return sqlite3_bind_null(st, i);
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// run executes the steps from one on until one fails, which at tells then, or when a callback of the program's panics. The step that
// has failed is not reset: the driver's own call resets it first, and finds its error. No binding refers to text afterwards.
static void run(step *steps, int n, const value *values, const char *text, volatile int32_t *at) {
	for (; *at < n; ++*at) {
		step *s = &steps[*at];
		void *st = (void *)(uintptr_t)s->statement;
		int rv = OK;
		if (s->n == 0)
			s->id = now();
		sqlite3_reset(st);
		for (int i = 0; i < s->n && rv == OK; i++)
			rv = bind(st, i + 1, &values[s->first + i], text);
		if (rv == OK)
			rv = sqlite3_step(st);
		int done = rv == DONE || rv == ROW;
		if (s->n == 0) {
			s->changes = now();
		} else {
			if (done) {
				void *db = sqlite3_db_handle(st);
				s->id = sqlite3_last_insert_rowid(db);
				s->changes = sqlite3_changes(db);
			}
			if (!done || *at + 1 == n || steps[*at + 1].statement != s->statement)
				sqlite3_clear_bindings(st);
		}
		if (!done)
			return;
	}
}

// level asks for the level of the main database, or sets it if it is not negative.
static int level(void *db, int to, long long *is) {
	static const char *const texts[] = {
		"PRAGMA main.synchronous", "PRAGMA main.synchronous=0", "PRAGMA main.synchronous=1", "PRAGMA main.synchronous=2", "PRAGMA main.synchronous=3",
	};
	void *st = 0;
	int rv = sqlite3_prepare_v2(db, texts[to + 1], -1, &st, 0);
	if (rv != OK)
		return rv;
	rv = sqlite3_step(st);
	if (rv == ROW)
		*is = sqlite3_column_int64(st, 0);
	int ended = sqlite3_finalize(st);
	return rv == ROW || rv == DONE ? ended : rv;
}

static int linked(void) {
	return sqlite3_reset && sqlite3_step && sqlite3_clear_bindings && sqlite3_bind_null && sqlite3_bind_int64 && sqlite3_bind_double &&
		sqlite3_bind_text64 && sqlite3_bind_blob64 && sqlite3_db_handle && sqlite3_last_insert_rowid && sqlite3_changes && sqlite3_sql &&
		sqlite3_sourceid && sqlite3_prepare_v2 && sqlite3_finalize && sqlite3_column_int64;
}

static const char *sql(void *st) { return sqlite3_sql(st); }
static const char *source(void) { return sqlite3_sourceid(); }
*/
import "C"

import (
	"reflect"
	"runtime"
	"sync"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// The types are the same on both sides.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(value{})-C.sizeof_value]
	_ = [1]struct{}{}[unsafe.Sizeof(step{})-C.sizeof_step]
)

const mayCross = true

// handles says where the driver keeps SQLite's own handles, if it keeps them there.
type handles struct{ statement, connection int }

// found is asked with the first connection's statement, and checks what can be checked: that the driver has a pointer of the
// right name, that SQLite knows that statement by its text, and that it is the same SQLite.
var found struct {
	once sync.Once
	ok   bool
	handles
}

func pointerTo(t reflect.Type, field, name string) (int, bool) {
	f, ok := t.FieldByName(field)
	if !ok || len(f.Index) != 1 || f.Type.Kind() != reflect.Pointer {
		return 0, false
	}
	target := f.Type.Elem().Name()
	return f.Index[0], target == "_Ctype_struct_"+name || target == "_Ctype_"+name
}

func findHandles(c *sqlite3.SQLiteConn) bool {
	const text = "SELECT 'groupcommit'"
	statement, ok1 := pointerTo(reflect.TypeFor[sqlite3.SQLiteStmt](), "s", "sqlite3_stmt")
	connection, ok2 := pointerTo(reflect.TypeFor[sqlite3.SQLiteConn](), "db", "sqlite3")
	_, _, source := sqlite3.Version()
	if !ok1 || !ok2 || C.linked() == 0 || C.GoString(C.source()) != source {
		return false
	}
	found.handles = handles{statement, connection}
	made, err := c.Prepare(text)
	if err != nil {
		return false
	}
	defer made.Close()
	st, ok := made.(*sqlite3.SQLiteStmt)
	return ok && C.GoString(C.sql(found.of(st))) == text && C.sqlite3_db_handle(found.of(st)) == found.ofConn(c)
}

// crosses reports that a connection's handles can be used.
func crosses(c *sqlite3.SQLiteConn) bool {
	found.once.Do(func() { found.ok = findHandles(c) })
	return found.ok
}

func (h handles) of(st *sqlite3.SQLiteStmt) unsafe.Pointer {
	return reflect.ValueOf(st).Elem().Field(h.statement).UnsafePointer()
}

func (h handles) ofConn(c *sqlite3.SQLiteConn) unsafe.Pointer {
	return reflect.ValueOf(c).Elem().Field(h.connection).UnsafePointer()
}

// handleOf is SQLite's handle of a statement, as long as the statement is open and reachable.
func handleOf(st *sqlite3.SQLiteStmt) uint64 { return uint64(uintptr(found.of(st))) }

// run executes the steps from s.at on. All their statements must be reachable until it returns.
func (s *segment) run() {
	C.run((*C.step)(unsafe.Pointer(&s.steps[0])), C.int(len(s.steps)), (*C.value)(unsafe.Pointer(unsafe.SliceData(s.values))),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(s.text))), (*C.int32_t)(unsafe.Pointer(&s.at)))
}

// levelOf is the level of a connection's main database, after it was set to another one if to is not negative.
func levelOf(c *sqlite3.SQLiteConn, to int64) (level int64, ok bool) {
	var is C.longlong
	rv := C.level(found.ofConn(c), C.int(to), &is)
	runtime.KeepAlive(c)
	return int64(is), rv == C.OK
}
