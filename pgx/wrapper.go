package pgx

import (
	"database/sql/driver"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"github.com/groupcommit/groupcommit/internal/applog"
)

var warned sync.Map // of types of wrappers

// warnOfWrapper logs, once for a type of wrappers, that a group's calls go through a wrapper one by one.
func warnOfWrapper(conn driver.Conn) {
	if _, known := warned.LoadOrStore(reflect.TypeOf(conn), true); !known {
		applog.Write(slog.LevelWarn, "groupcommit/pgx: a group takes a round trip for each of its calls, because a wrapper around the driver's connections must see each; put the wrapper around groupcommit's driver instead",
			"wrapper", fmt.Sprintf("%T", conn))
	}
}
