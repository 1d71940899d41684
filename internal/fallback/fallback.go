// Package fallback does on a physical connection what database/sql does for a driver that lacks an optional interface, with
// the same texts of errors. The virtual connection has every interface, so database/sql does not do it.
package fallback

//lint:file-ignore SA1019 a driver may have only the old interfaces

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"unicode"
	"unicode/utf8"
)

// Exec is database/sql's execDC: Execer, or else prepare, execute, close.
func Exec(ctx context.Context, c driver.Conn, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := directExec(ctx, c, query, args)
	if err != driver.ErrSkip {
		return res, err
	}
	s, err := Prepare(ctx, c, query)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return ExecStmt(ctx, c, s, args)
}

func directExec(ctx context.Context, c driver.Conn, query string, args []driver.NamedValue) (driver.Result, error) {
	execerCtx, isCtx := c.(driver.ExecerContext)
	execer, isOld := c.(driver.Execer)
	if !isCtx && !isOld {
		return nil, driver.ErrSkip
	}
	checked, err := checkFor(c, nil, args)
	if err != nil {
		return nil, err
	}
	if isCtx {
		return execerCtx.ExecContext(ctx, query, checked)
	}
	values, err := withoutNames(checked)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return execer.Exec(query, values)
}

// Query asks the connection itself. driver.ErrSkip goes up to database/sql, which then prepares. Query may change args, which
// database/sql makes for each attempt.
func Query(ctx context.Context, c driver.Conn, query string, args []driver.NamedValue) (driver.Rows, error) {
	queryerCtx, isCtx := c.(driver.QueryerContext)
	queryer, isOld := c.(driver.Queryer)
	if !isCtx && !isOld {
		return nil, driver.ErrSkip
	}
	args, err := checkInPlace(c, nil, args)
	if err != nil {
		return nil, err
	}
	if isCtx {
		return queryerCtx.QueryContext(ctx, query, args)
	}
	values, err := withoutNames(args)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return queryer.Query(query, values)
}

// Prepare is database/sql's ctxDriverPrepare.
func Prepare(ctx context.Context, c driver.Conn, query string) (driver.Stmt, error) {
	if p, ok := c.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	s, err := c.Prepare(query)
	if err == nil && ctx.Err() != nil {
		s.Close()
		return nil, ctx.Err()
	}
	return s, err
}

// ExecStmt executes a prepared statement. It leaves args unchanged.
func ExecStmt(ctx context.Context, c driver.Conn, s driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	args, err := checkFor(c, s, args)
	if err != nil {
		return nil, err
	}
	return execChecked(ctx, s, args)
}

// ExecOwnStmt is ExecStmt for arguments that it may change.
func ExecOwnStmt(ctx context.Context, c driver.Conn, s driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	args, err := checkInPlace(c, s, args)
	if err != nil {
		return nil, err
	}
	return execChecked(ctx, s, args)
}

func execChecked(ctx context.Context, s driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	if sc, ok := s.(driver.StmtExecContext); ok {
		return sc.ExecContext(ctx, args)
	}
	values, err := withoutNames(args)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return s.Exec(values)
}

// QueryStmt is ExecStmt for a query.
func QueryStmt(ctx context.Context, c driver.Conn, s driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	args, err := checkInPlace(c, s, args)
	if err != nil {
		return nil, err
	}
	if sc, ok := s.(driver.StmtQueryContext); ok {
		return sc.QueryContext(ctx, args)
	}
	values, err := withoutNames(args)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return s.Query(values)
}

// Begin is database/sql's ctxDriverBegin.
func Begin(ctx context.Context, c driver.Conn, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	tx, err := c.Begin()
	if err == nil && ctx.Err() != nil {
		tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

func withoutNames(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, nil
}

// checkFor converts raw arguments as database/sql does for a statement s (or nil) of connection c: by the checker of the
// statement or else of the connection, then by the statement's column converter, then by the default. It leaves args
// unchanged.
func checkFor(c driver.Conn, s driver.Stmt, args []driver.NamedValue) ([]driver.NamedValue, error) {
	return checkInPlace(c, s, append([]driver.NamedValue(nil), args...))
}

func checkInPlace(c driver.Conn, s driver.Stmt, args []driver.NamedValue) ([]driver.NamedValue, error) {
	want := -1
	var room [3]ArgCheck
	checks := room[:0]
	nvc, ok := s.(driver.NamedValueChecker)
	if !ok {
		nvc, _ = c.(driver.NamedValueChecker)
	}
	if nvc != nil {
		checks = append(checks, nvc.CheckNamedValue)
	}
	if s != nil {
		want = s.NumInput()
		if cc, ok := s.(driver.ColumnConverter); ok {
			checks = append(checks, func(nv *driver.NamedValue) error { return convertColumn(cc, want, nv) })
		}
	}
	return Check(args, want, append(checks, DefaultCheck))
}

// ArgCheck converts one argument, or returns driver.ErrSkip to leave it to the next check.
type ArgCheck = func(*driver.NamedValue) error

// Check converts args in place, each by the first of checks that does not return driver.ErrSkip. Then it compares their
// number with want, unless want is -1.
func Check(args []driver.NamedValue, want int, checks []ArgCheck) ([]driver.NamedValue, error) {
	n := 0
	for at := range args {
		nv := &args[n] // and not a variable, which would be allocated
		*nv = args[at]
		nv.Ordinal = n + 1
		err := driver.ErrSkip
		for i := 0; err == driver.ErrSkip && i < len(checks); i++ {
			err = checks[i](nv)
		}
		switch err {
		case nil:
			n++
		case driver.ErrRemoveArgument:
		default:
			return nil, argError(nv, err)
		}
	}
	if want != -1 && n != want {
		return nil, fmt.Errorf("sql: expected %d arguments, got %d", want, n)
	}
	return args[:n], nil
}

func argError(nv *driver.NamedValue, err error) error {
	name := fmt.Sprintf("$%d", nv.Ordinal)
	if nv.Name != "" {
		name = fmt.Sprintf("with name %q", nv.Name)
	}
	return fmt.Errorf("sql: converting argument %s type: %w", name, err)
}

// DefaultCheck converts one argument as database/sql does for a driver that has no conversion itself. It is a Traits.Check.
func DefaultCheck(nv *driver.NamedValue) (err error) {
	nv.Value, err = driver.DefaultParameterConverter.ConvertValue(nv.Value)
	return err
}

// convertColumn is database/sql's ccChecker: the column's converter, after a Valuer has given its value.
func convertColumn(cc driver.ColumnConverter, want int, nv *driver.NamedValue) error {
	index := nv.Ordinal - 1
	if want >= 0 && want <= index {
		return nil
	}
	if vr, ok := nv.Value.(driver.Valuer); ok {
		v, err := valueOf(vr)
		if err != nil {
			return err
		}
		if !driver.IsValue(v) {
			return fmt.Errorf("non-subset type %T returned from Value", v)
		}
		nv.Value = v
	}
	v, err := cc.ColumnConverter(index).ConvertValue(nv.Value)
	if err != nil {
		return err
	}
	if !driver.IsValue(v) {
		return fmt.Errorf("driver ColumnConverter error converted %T to unsupported type %T", nv.Value, v)
	}
	nv.Value = v
	return nil
}

// valueOf calls a Valuer. A nil pointer to a type that has the method itself is NULL, and is not called.
func valueOf(vr driver.Valuer) (driver.Value, error) {
	v := reflect.ValueOf(vr)
	if v.Kind() == reflect.Pointer && v.IsNil() && v.Type().Elem().Implements(reflect.TypeFor[driver.Valuer]()) {
		return nil, nil
	}
	return vr.Value()
}

// Named makes the arguments of a call as database/sql does, before they are checked.
func Named(args []any) ([]driver.NamedValue, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		if na, ok := a.(sql.NamedArg); ok {
			if r, _ := utf8.DecodeRuneInString(na.Name); na.Name != "" && !unicode.IsLetter(r) {
				return nil, fmt.Errorf("name %q does not begin with a letter", na.Name)
			}
			named[i] = driver.NamedValue{Name: na.Name, Value: na.Value}
		} else {
			named[i].Value = a
		}
	}
	return named, nil
}
