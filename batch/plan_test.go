package batch

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/schemas"
)

func TestCutTilesRanges(t *testing.T) {
	got := fmt.Sprint(cut([]schemas.Range{{From: 3, To: 23}, {Partition: 1, From: 5, To: 5}, {Partition: 2, From: 0, To: 1}}, 10))
	if want := "[0@[3,13) 0@[13,23) 2@[0,1)]"; got != want {
		t.Errorf("cut = %s, want %s", got, want)
	}
}
