package batch

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

func TestCutTilesRanges(t *testing.T) {
	got := fmt.Sprint(cut([]schemas.Range{{From: 3, To: 23}, {Partition: 1, From: 5, To: 5}, {Partition: 2, From: 0, To: 1}}, 10))
	if want := "[0@[3,13) 0@[13,23) 2@[0,1)]"; got != want {
		t.Errorf("cut = %s, want %s", got, want)
	}
}

func TestRangesEndWhereVersionsBegin(t *testing.T) {
	versions := []manifest.TableVersion{{From: nil}, {From: schemas.Frontier{0: 10, 1: 5}}, {From: schemas.Frontier{0: 20, 1: 5}}, {From: schemas.Frontier{0: 10}}}
	got := fmt.Sprint(between([]schemas.Range{{From: 3, To: 23}, {Partition: 1, From: 5, To: 8}, {Partition: 2, From: 0, To: 1}}, versions))
	if want := "[0@[3,10) 0@[10,20) 0@[20,23) 1@[5,8) 2@[0,1)]"; got != want {
		t.Errorf("between = %s, want %s", got, want)
	}
}
