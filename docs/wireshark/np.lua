-- A dissector of np for Wireshark: preface, handshake messages, records and, with a key log, frames.
--
-- It follows docs/PROTOCOL.md. Keys come from the file of the preference np.keylog, as NPKEYLOGFILE had np write it. Records
-- are decrypted here in Lua, since not every Wireshark gives Lua its ciphers; their tags are not checked, which `np inspect`
-- does. Install and use: docs/wireshark/README.md.

local np = Proto("np", "np")

-- Arithmetic of 32 bits, whichever way this Lua has it; numbers are never negative.

local bits = bit32 or bit
if not bits then
  bits = load([[
    local m = 0xffffffff
    return {
      bxor = function(a, b) return (a ~ b) & m end,
      band = function(a, b) return a & b & m end,
      bor = function(a, b) return (a | b) & m end,
      lshift = function(a, n) return (a << n) & m end,
      rshift = function(a, n) return (a & m) >> n end,
    }
  ]])()
end
local TWO32 = 4294967296
local function bxor(a, b) return bits.bxor(a, b) % TWO32 end
local function band(a, b) return bits.band(a, b) % TWO32 end
local function rotl(a, n) return bits.bor(bits.lshift(a, n), bits.rshift(a, 32 - n)) % TWO32 end
local function byte_of(a, n) return band(bits.rshift(a, n) % TWO32, 255) end

local function u32_be(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function u32_le(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((d * 256 + c) * 256 + b) * 256 + a
end

local function put_be(v) return string.char(byte_of(v, 24), byte_of(v, 16), byte_of(v, 8), byte_of(v, 0)) end
local function put_le(v) return string.char(byte_of(v, 0), byte_of(v, 8), byte_of(v, 16), byte_of(v, 24)) end

-- ChaCha20 (RFC 8439): the block of a key, a counter and a nonce of 12 bytes.

local function chacha_block(key, counter, nonce)
  local s = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }
  for i = 0, 7 do s[5 + i] = u32_le(key, 1 + 4 * i) end
  s[13] = counter
  for i = 0, 2 do s[14 + i] = u32_le(nonce, 1 + 4 * i) end
  local x = {}
  for i = 1, 16 do x[i] = s[i] end
  local function quarter(a, b, c, d)
    x[a] = (x[a] + x[b]) % TWO32; x[d] = rotl(bxor(x[d], x[a]), 16)
    x[c] = (x[c] + x[d]) % TWO32; x[b] = rotl(bxor(x[b], x[c]), 12)
    x[a] = (x[a] + x[b]) % TWO32; x[d] = rotl(bxor(x[d], x[a]), 8)
    x[c] = (x[c] + x[d]) % TWO32; x[b] = rotl(bxor(x[b], x[c]), 7)
  end
  for _ = 1, 10 do
    quarter(1, 5, 9, 13); quarter(2, 6, 10, 14); quarter(3, 7, 11, 15); quarter(4, 8, 12, 16)
    quarter(1, 6, 11, 16); quarter(2, 7, 12, 13); quarter(3, 8, 9, 14); quarter(4, 5, 10, 15)
  end
  local out = {}
  for i = 1, 16 do out[i] = put_le((x[i] + s[i]) % TWO32) end
  return table.concat(out)
end

-- AES-256 (FIPS 197), encryption alone: the counter mode of GCM needs no other.

local sbox, mixed
local function make_tables()
  sbox, mixed = {}, {}
  local p, q = 1, 1
  repeat
    -- p goes through all numbers but 0, and q is its inverse.
    p = bxor(bxor(p, (p * 2) % 256), p >= 128 and 0x1b or 0)
    q = bxor(q, (q * 2) % 256); q = bxor(q, (q * 4) % 256); q = bxor(q, (q * 16) % 256)
    if q >= 128 then q = bxor(q, 9) end
    local r = function(n) return bxor((q * 2 ^ n) % 256, math.floor(q / 2 ^ (8 - n))) end
    sbox[p] = bxor(bxor(bxor(bxor(q, r(1)), bxor(r(2), r(3))), r(4)), 0x63)
  until p == 1
  sbox[0] = 0x63
  for i = 0, 255 do
    local s = sbox[i]
    local double = bxor((s * 2) % 256, s >= 128 and 0x1b or 0)
    mixed[i] = ((double * 256 + s) * 256 + s) * 256 + bxor(double, s)
  end
end

local function aes_schedule(key)
  if not sbox then make_tables() end
  local function sub(w)
    return ((sbox[byte_of(w, 24)] * 256 + sbox[byte_of(w, 16)]) * 256 + sbox[byte_of(w, 8)]) * 256 + sbox[byte_of(w, 0)]
  end
  local w, round = {}, 1
  for i = 0, 7 do w[i] = u32_be(key, 1 + 4 * i) end
  for i = 8, 59 do
    local t = w[i - 1]
    if i % 8 == 0 then
      t = bxor(sub(rotl(t, 8)), round * 0x1000000)
      round = round * 2
    elseif i % 8 == 4 then
      t = sub(t)
    end
    w[i] = bxor(w[i - 8], t)
  end
  return w
end

local function aes_block(w, block)
  local s = {}
  for i = 0, 3 do s[i] = bxor(u32_be(block, 1 + 4 * i), w[i]) end
  for round = 1, 13 do
    local t = {}
    for i = 0, 3 do
      local a = mixed[byte_of(s[i], 24)]
      local b = rotl(mixed[byte_of(s[(i + 1) % 4], 16)], 24)
      local c = rotl(mixed[byte_of(s[(i + 2) % 4], 8)], 16)
      local d = rotl(mixed[byte_of(s[(i + 3) % 4], 0)], 8)
      t[i] = bxor(bxor(bxor(a, b), bxor(c, d)), w[4 * round + i])
    end
    s = t
  end
  local out = {}
  for i = 0, 3 do
    local a, b = sbox[byte_of(s[i], 24)], sbox[byte_of(s[(i + 1) % 4], 16)]
    local c, d = sbox[byte_of(s[(i + 2) % 4], 8)], sbox[byte_of(s[(i + 3) % 4], 0)]
    out[i + 1] = put_be(bxor(((a * 256 + b) * 256 + c) * 256 + d, w[56 + i]))
  end
  return table.concat(out)
end

-- The two suites: a cipher is a function from a record's number and a text to the other text.

local CHACHA, AES = 1, 2
local LAST = "\255\255\255\255\255\255\255\255"

local function xor(text, stream)
  local out = {}
  for at = 1, #text do out[at] = string.char(bxor(text:byte(at), stream:byte(at))) end
  return table.concat(out)
end

-- A nonce: four zero bytes and the number, in the suite's order; nothing stands for the number that rekey uses.
local function nonce_of(suite, number)
  if not number then return "\0\0\0\0" .. LAST end
  local high, low = math.floor(number / TWO32), number % TWO32
  if suite == AES then return "\0\0\0\0" .. put_be(high) .. put_be(low) end
  return "\0\0\0\0" .. put_le(low) .. put_le(high)
end

local function keystream(suite, key, nonce, size)
  local out = {}
  if suite == CHACHA then
    -- Block 0 is for the tag.
    for block = 1, math.ceil(size / 64) do out[block] = chacha_block(key, block, nonce) end
  else
    local w = aes_schedule(key)
    -- Counter 1 is for the tag.
    for block = 1, math.ceil(size / 16) do out[block] = aes_block(w, nonce .. put_be(block + 1)) end
  end
  return table.concat(out)
end

local function decrypt(suite, key, number, text)
  return xor(text, keystream(suite, key, nonce_of(suite, number), #text))
end

local function rekeyed(suite, key)
  return keystream(suite, key, nonce_of(suite, nil), 32):sub(1, 32)
end

-- What is shown.

local SUITES = { [0] = "none", [1] = "ChaCha20-Poly1305", [2] = "AES-256-GCM" }
local PATTERNS = {
  [0] = "none", [1] = "XX", [2] = "IK", [3] = "NK", [4] = "KK", [5] = "XXpsk3", [6] = "IKpsk2", [7] = "NNpsk0", [8] = "NN",
}
local KINDS = {
  [0x00] = "PADDING", [0x01] = "SETTINGS", [0x02] = "CLOSE", [0x03] = "GO_AWAY", [0x04] = "PING", [0x05] = "PONG",
  [0x06] = "KEY_UPDATE", [0x07] = "METHOD", [0x08] = "REQUEST", [0x09] = "ONE_WAY", [0x0a] = "STREAM",
  [0x0b] = "CONNECTION_CREDIT", [0x0c] = "CALL_ALLOWANCE", [0x10] = "RESPONSE", [0x11] = "DATA", [0x12] = "TRAILERS",
  [0x13] = "CANCEL", [0x14] = "STREAM_CREDIT", [0x15] = "COMPRESSED",
}
local SETTINGS = {
  [1] = "max_message", [2] = "max_calls", [3] = "stream_window", [4] = "connection_window", [5] = "encodings",
}
local CODECS = { [0] = "bytes", [1] = "postcard", [2] = "JSON", [3] = "MessagePack" }
local ENCODINGS = { [0] = "plain", [1] = "LZ4", [2] = "Zstandard" }

local f = {
  side = ProtoField.string("np.side", "Sent by"),
  preface = ProtoField.none("np.preface", "Preface"),
  min = ProtoField.uint8("np.version.min", "Lowest version"),
  max = ProtoField.uint8("np.version.max", "Highest version"),
  version = ProtoField.uint8("np.version", "Version"),
  suite = ProtoField.uint8("np.suite", "Suite", base.DEC, SUITES),
  pattern = ProtoField.uint8("np.pattern", "Pattern", base.DEC, PATTERNS),
  time = ProtoField.uint64("np.time", "Client's clock, ms since 1970"),
  nonce = ProtoField.bytes("np.nonce", "Nonce"),
  hint = ProtoField.bytes("np.hint", "Server key hint"),
  key_id = ProtoField.bytes("np.key_id", "Key id"),
  message = ProtoField.uint8("np.message", "Handshake message"),
  body = ProtoField.bytes("np.message.body", "Noise message"),
  refusal = ProtoField.uint16("np.refusal", "Refusal in clear, code", base.HEX),
  refusal_text = ProtoField.string("np.refusal.text", "Text (not authenticated)"),
  record = ProtoField.uint32("np.record", "Record"),
  length = ProtoField.uint16("np.record.length", "Length"),
  sealed = ProtoField.bytes("np.record.sealed", "Sealed frames and tag"),
  unknown = ProtoField.bytes("np.unknown", "Of a version that is not known here"),
  kind = ProtoField.uint8("np.frame", "Frame", base.HEX, KINDS),
  stream = ProtoField.uint64("np.stream", "Stream id"),
  size = ProtoField.uint32("np.frame.length", "Payload length"),
  payload = ProtoField.bytes("np.frame.payload", "Payload"),
  fin = ProtoField.bool("np.fin", "FIN"),
  finish = ProtoField.bool("np.end", "END"),
  more = ProtoField.bool("np.more", "MORE"),
  method = ProtoField.string("np.method", "Method"),
  method_number = ProtoField.uint32("np.method.number", "Method number"),
  codec = ProtoField.uint8("np.codec", "Codec", base.DEC, CODECS, 0x0f),
  encoding = ProtoField.uint8("np.encoding", "Encoding", base.DEC, ENCODINGS, 0xf0),
  value = ProtoField.uint64("np.value", "Value"),
  text = ProtoField.string("np.text", "Text"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
np.fields = list
local broken = ProtoExpert.new("np.broken", "These bytes are not np", expert.group.MALFORMED, expert.severity.ERROR)
np.experts = { broken }
np.prefs.keylog = Pref.string("Key log", "", "The file that NPKEYLOGFILE had np write; empty leaves records sealed")

local stream_of = Field.new("tcp.stream")

-- The keys of the key log, by the nonce of their connection in hexadecimal digits.

local keys = {}
local function unhex(text)
  return (text:gsub("%x%x", function(two) return string.char(tonumber(two, 16)) end))
end
local function read_keys()
  keys = {}
  local file = np.prefs.keylog ~= "" and io.open(np.prefs.keylog, "r")
  if not file then return end
  for line in file:lines() do
    local nonce, client, server = line:match("^NP_TRAFFIC_KEYS (%x+) (%x+) (%x+)%s*$")
    if nonce and #nonce == 32 and #client == 64 and #server == 64 then
      keys[nonce:lower()] = { client = unhex(client), server = unhex(server) }
    end
  end
  file:close()
end

-- What is known of each connection, by the number that Wireshark gives its TCP stream.

local connections = {}
function np.init()
  connections = {}
  read_keys()
end

local function connection(pinfo)
  local number = stream_of() and stream_of().value or 0
  if not connections[number] then
    local fresh = { next = "preface", record = 0, methods = {}, opened = 0 }
    connections[number] = {
      client = fresh, server = { next = 2, record = 0, methods = {}, opened = 0 }, pieces = {},
      from = tostring(pinfo.src) .. " " .. pinfo.src_port,
    }
  end
  return connections[number]
end

-- Frames of an opened record: a table each, with the place of every field in the plaintext.

-- A number of RFC 9000, section 16, and where it ends; nothing where it is cut short.
local function varint(s, at)
  local first = s:byte(at)
  if not first then return nil end
  local size = 2 ^ math.floor(first / 64)
  if at + size - 1 > #s then return nil end
  local value = first % 64
  for i = at + 1, at + size - 1 do value = value * 256 + s:byte(i) end
  return value, at + size
end

-- Adds what stands in a payload to a frame: pairs of a field, its place, and a value where it is not the bytes there.
local function read_payload(frame, s, at, last, dir)
  local fields = frame.fields
  local function add(field, from, to, value, label) fields[#fields + 1] = { field, from, to - from, value, label } end
  local function number(label)
    local value, after = varint(s, at)
    if not value or after > last + 1 then return nil end
    add(f.value, at, after, value, label)
    at = after
    return value
  end
  local function codec()
    if at > last then return end
    add(f.codec, at, at + 1)
    add(f.encoding, at, at + 1)
    local encoded = s:byte(at) >= 16
    at = at + 1
    if encoded then number("Bytes once decompressed") end
  end
  local function rest(field) if at <= last then add(field, at, last + 1) end end
  local name = frame.name
  if name == "SETTINGS" then
    while at <= last do
      local id, after = varint(s, at)
      if not id then return end
      at = after
      number(SETTINGS[id] or ("setting " .. id))
    end
  elseif name == "CLOSE" then
    number("Close code"); rest(f.text)
  elseif name == "GO_AWAY" then
    number("Accepted streams"); number("Close code")
  elseif name == "PING" or name == "PONG" then
    number("Token")
  elseif name == "METHOD" then
    local method, after = varint(s, at)
    if not method then return end
    add(f.method_number, at, after, method)
    at = after
    dir.methods[method] = s:sub(at, last)
    frame.about = s:sub(at, last)
    rest(f.method)
  elseif name == "REQUEST" or name == "ONE_WAY" or name == "STREAM" then
    local method, after = varint(s, at)
    if not method then return end
    frame.about = dir.methods[method]
    add(f.method_number, at, after, method)
    if frame.about then add(f.method, at, after, frame.about) end
    at = after
    codec()
    if frame.flags % 2 == 0 then number("Remaining time: 0 is none, else ms and one") end
    if frame.more then number("Bytes of the whole message") end
    frame.stream = dir.opened * 2 + (dir.server and 1 or 0)
    dir.opened = dir.opened + 1
    rest(f.payload)
  elseif name == "RESPONSE" then
    codec()
    if frame.more then number("Bytes of the whole message") end
    rest(f.payload)
  elseif name == "TRAILERS" then
    number("Status"); rest(f.text)
  elseif name == "CANCEL" then
    number("Status")
  elseif name == "CONNECTION_CREDIT" or name == "STREAM_CREDIT" then
    number("Bytes of credit")
  elseif name == "CALL_ALLOWANCE" then
    number("Calls")
  elseif name == "COMPRESSED" then
    codec(); rest(f.payload)
  else
    rest(f.payload)
  end
end

local function read_frames(s, dir)
  local frames, at = {}, 1
  while at <= #s do
    local first, start = s:byte(at), at
    local kind, flags = math.floor(first / 8), first % 8
    local frame = { kind = kind, flags = flags, name = KINDS[kind] or "unknown", at = start, fields = {} }
    at = at + 1
    if kind >= 0x10 then
      frame.stream, at = varint(s, at)
    end
    local length
    if at then length, at = varint(s, at) end
    if not length or at + length - 1 > #s then
      frames[#frames + 1] = { name = "broken", at = start, size = #s - start + 1, fields = {}, broken = true }
      return frames
    end
    frame.more = math.floor(flags / 2) % 2 == 1 and (kind <= 0x0a or kind == 0x10)
    frame.length = length
    read_payload(frame, s, at, at + length - 1, dir)
    at = at + length
    frame.size = at - start
    frames[#frames + 1] = frame
  end
  return frames
end

-- The pieces of a direction.

-- The version that is known here, and the kind of a refusal in clear.
local VERSION, REFUSAL = 1, 3

-- Whether what comes is of a version that is not known here. A server that does not know it either refuses in clear.
local function is_unknown(conn, dir, tvb, at)
  return dir.next == "unknown" or (conn.unknown and tvb(at, 1):uint() ~= REFUSAL)
end

-- How many bytes the next piece takes; where that is not known yet, how many it takes to know.
local function measure(conn, dir, tvb, at)
  local left = tvb:len() - at
  if dir.next == "preface" then
    if left < 7 then return nil, 7 - left end
    -- How long the preface of another version is, nobody can tell here.
    if tvb(at + 6, 1):uint() ~= VERSION then return 7 end
    if left < 38 then return nil, 38 - left end
    return 38 + tvb(at + 37, 1):uint()
  elseif is_unknown(conn, dir, tvb, at) then
    return left
  elseif dir.next == "records" then
    if left < 2 then return nil, 2 - left end
    return 2 + tvb(at, 2):uint()
  end
  if left < 3 then return nil, 3 - left end
  return 3 + tvb(at + 1, 2):uint()
end

local function take_preface(conn, tvb, at)
  if tvb(at + 6, 1):uint() ~= VERSION then
    conn.unknown = true
    conn.client.next = "unknown"
    return
  end
  conn.suite, conn.pattern = tvb(at + 7, 1):uint(), tvb(at + 8, 1):uint()
  conn.clear = conn.suite == 0 and conn.pattern == 0
  local found = keys[tvb(at + 17, 16):bytes():tohex(true)]
  conn.client.key = found and found.client
  conn.server.key = found and found.server
  conn.server.server = true
  conn.client.next = conn.clear and "records" or 1
end

-- Takes the next piece of a direction, once: what it is depends on those before it.
local function take(conn, dir, tvb, at, size)
  local piece = { size = size, what = dir.next }
  if dir.next == "preface" then
    take_preface(conn, tvb, at)
  elseif is_unknown(conn, dir, tvb, at) then
    dir.next, piece.what = "unknown", "unknown"
  elseif dir.next == "records" then
    piece.what = "record"
    dir.record = dir.record + 1
    piece.number = dir.record
    local text
    if conn.clear then
      text = tvb:raw(at + 2, size - 2)
    elseif dir.key and size >= 18 then
      text = decrypt(conn.suite, dir.key, dir.record - 1, tvb:raw(at + 2, size - 18))
    end
    if text then
      piece.text, piece.frames = text, read_frames(text, dir)
      local last = piece.frames[#piece.frames]
      if last and last.name == "KEY_UPDATE" and dir.key then dir.key = rekeyed(conn.suite, dir.key) end
    end
  else
    piece.number = dir.next
    piece.what = tvb(at, 1):uint() == REFUSAL and "refusal" or "message"
    -- XX and XXpsk3 have a third message.
    local three = conn.pattern == 1 or conn.pattern == 5
    dir.next = (dir.next == 1 and three) and 3 or "records"
  end
  return piece
end

local function show_frames(piece, range, tree)
  local plain = ByteArray.new(piece.text, true):tvb("np frames")
  local names = {}
  for _, frame in ipairs(piece.frames) do
    local place = plain(frame.at - 1, frame.size)
    if frame.broken then
      tree:add_proto_expert_info(broken, "No frames: other keys than these, or bytes that are not np")
      names[#names + 1] = "?"
    else
      local sub = tree:add(f.kind, place, frame.kind)
      sub:append_text(frame.about and (": " .. frame.about) or "")
      if frame.stream then sub:add(f.stream, place, UInt64.new(frame.stream % TWO32, math.floor(frame.stream / TWO32))) end
      sub:add(f.size, place, frame.length)
      if frame.kind == 0x11 then sub:add(f.fin, place, frame.flags % 2 == 1) end
      if frame.kind == 0x11 or frame.kind == 0x15 then sub:add(f.finish, place, math.floor(frame.flags / 2) % 2 == 1) end
      if frame.more then sub:add(f.more, place, true) end
      for _, field in ipairs(frame.fields) do
        local kind, from, size, value, label = field[1], field[2], field[3], field[4], field[5]
        local item
        if kind == f.value then
          item = sub:add(kind, plain(from - 1, size), UInt64.new(value % TWO32, math.floor(value / TWO32)))
        elseif value then
          item = sub:add(kind, plain(from - 1, size), value)
        else
          item = sub:add(kind, plain(from - 1, size))
        end
        if label then item:set_text(label .. ": " .. value) end
      end
      names[#names + 1] = frame.name .. (frame.about and frame.name ~= "METHOD" and (" " .. frame.about) or "")
    end
  end
  return table.concat(names, " ")
end

-- Shows a piece in the tree, and gives the words for the list of packets.
local function show(piece, side, range, tree)
  local sub = tree:add(np, range)
  sub:add(f.side, range(0, 0), side)
  local title
  if piece.what == "preface" then
    title = "Preface"
    sub:add(f.preface, range(0, 4))
    sub:add(f.min, range(4, 1)); sub:add(f.max, range(5, 1)); sub:add(f.version, range(6, 1))
    if range(6, 1):uint() ~= VERSION then
      title = "Preface of a version that is not known here"
      sub:set_text("np, " .. side .. ": " .. title)
      return title
    end
    sub:add(f.suite, range(7, 1)); sub:add(f.pattern, range(8, 1)); sub:add(f.time, range(9, 8))
    sub:add(f.nonce, range(17, 16)); sub:add(f.hint, range(33, 4))
    if piece.size > 38 then sub:add(f.key_id, range(38, piece.size - 38)) end
  elseif piece.what == "message" then
    title = "Message " .. piece.number
    sub:add(f.message, range(0, piece.size), piece.number)
    if piece.size > 3 then sub:add(f.body, range(3, piece.size - 3)) end
  elseif piece.what == "refusal" and piece.size >= 7 then
    title = "Refusal"
    sub:add(f.refusal, range(3, 2)); sub:add(f.min, range(5, 1)); sub:add(f.max, range(6, 1))
    if piece.size > 7 then sub:add(f.refusal_text, range(7, piece.size - 7)) end
  elseif piece.what == "record" then
    title = "Record " .. piece.number
    sub:add(f.record, range(0, piece.size), piece.number)
    sub:add(f.length, range(0, 2))
    if piece.size > 2 then sub:add(f.sealed, range(2, piece.size - 2)) end
    if piece.frames then title = title .. ": " .. show_frames(piece, range, sub) end
  elseif piece.what == "unknown" then
    title = "of a version that is not known here"
    sub:add(f.unknown, range)
  else
    title = "broken"
    sub:add_proto_expert_info(broken)
  end
  sub:set_text("np, " .. side .. ": " .. title)
  return title
end

function np.dissector(tvb, pinfo, tree)
  local conn = connection(pinfo)
  local side = conn.from == tostring(pinfo.src) .. " " .. pinfo.src_port and "client" or "server"
  local dir = conn[side]
  local at, titles = 0, {}
  pinfo.cols.protocol = "np"
  while at < tvb:len() do
    -- A packet is shown more than once, and its place says what it was the first time.
    local place = table.concat({ pinfo.number, tvb:len(), tvb:offset(), at }, " ")
    local piece = conn.pieces[place]
    if not piece then
      if pinfo.visited then break end
      local size, missing = measure(conn, dir, tvb, at)
      missing = missing or (size > tvb:len() - at and size - (tvb:len() - at))
      if missing then
        pinfo.desegment_offset, pinfo.desegment_len = at, missing
        break
      end
      piece = take(conn, dir, tvb, at, size)
      conn.pieces[place] = piece
    end
    titles[#titles + 1] = show(piece, side, tvb(at, piece.size), tree)
    at = at + piece.size
  end
  if #titles > 0 then pinfo.cols.info:set(side .. ": " .. table.concat(titles, "; ")) end
  return tvb:len()
end

local function begins(tvb, pinfo, tree)
  if tvb:len() < 4 or tvb(0, 4):uint() ~= 0x6e700d0a then return false end
  pinfo.conversation = np
  np.dissector(tvb, pinfo, tree)
  return true
end

np:register_heuristic("tcp", begins)
DissectorTable.get("tcp.port"):add_for_decode_as(np)
