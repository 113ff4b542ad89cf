package agent

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// machine knows the computer that the agent runs on.
type machine struct {
	root     string // whose disk counts
	address  string
	towards  []string // addresses that show which interface faces the cluster
	version  string
	system   boot // of the machine
	booted   boot // the same, or the node's last restart since
	restarts int  // since the machine's boot
	memory   int64

	mu   sync.Mutex
	last cpuTimes
}

// boot is a run of the machine's system.
type boot struct {
	id string // changes with every boot
	at time.Time
}

// cpuTimes are the times that all processors together have spent since boot, in any one unit.
type cpuTimes struct{ busy, total uint64 }

func newMachine(cfg *Config) *machine {
	m := &machine{root: cfg.NodeRoot, address: cfg.Address, towards: cfg.Coordinators, version: cfg.Version, system: readBoot()}
	m.booted = m.system
	m.memory, _ = readMemory()
	m.last = readCPU()
	return m
}

func (m *machine) bootID() string { return m.booted.id }

// facts describes the machine.
func (m *machine) facts() *agentv1.NodeFacts {
	hostname, _ := os.Hostname() // empty is an answer too
	disk, _ := diskSpace(existing(m.root))
	return &agentv1.NodeFacts{
		Hostname: hostname, Os: runtime.GOOS, Arch: runtime.GOARCH, Cpus: int32(runtime.NumCPU()),
		MemoryBytes: m.memory, DiskBytes: disk, IpAddress: m.ip(), AgentVersion: m.version,
		BootId: m.booted.id, BootTime: timestamppb.New(m.booted.at),
	}
}

// load fills in how busy the machine is.
func (m *machine) load(h *agentv1.Heartbeat) {
	total, available := readMemory()
	h.MemoryUsedBytes = max(total-available, 0)
	_, h.DiskFreeBytes = diskSpace(existing(m.root))
	now := readCPU()
	m.mu.Lock()
	defer m.mu.Unlock()
	if spent := now.total - m.last.total; now.total > m.last.total && now.busy >= m.last.busy {
		h.CpuPercent = 100 * float64(now.busy-m.last.busy) / float64(spent)
	}
	m.last = now
}

// ip is the address of the interface that faces the cluster. No packet is sent to find out.
func (m *machine) ip() string {
	if m.address != "" {
		return m.address
	}
	for _, address := range m.towards {
		conn, err := net.Dial("udp", address)
		if err != nil {
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		_ = conn.Close()
		if ok {
			return local.IP.String()
		}
	}
	return ""
}

// existing is the nearest directory above that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
