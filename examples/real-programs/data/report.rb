puts "ruby #{RUBY_VERSION}"
puts "sum of squares #{(1..1000).sum { |n| n * n }}"
puts "listing #{Dir.children('/data').sort.inspect}"
puts File.readlines('/data/notes.txt', chomp: true).map(&:split).flatten.tally.max_by { |word, count| [count, word] }.inspect
puts begin
  File.read('/etc/passwd')
rescue SystemCallError
  'outside is not visible'
end
