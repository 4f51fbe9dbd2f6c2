%% The record of bench/channels.lua between two Erlang processes: prints "erlang_record nanoseconds". A window of 1024, as the
%% channel there has.
-module(channels).
-export([main/0]).

-define(WINDOW, 1024).

main() ->
    stream(100000),
    N = 1000000,
    io:format("erlang_record ~.1f~n", [stream(N) / N]).

stream(N) ->
    Self = self(),
    Name = list_to_binary(lists:duplicate(32, $n)),
    Receiver = spawn(fun() -> receive_all(Self, N, 0) end),
    Start = erlang:monotonic_time(nanosecond),
    send_all(Receiver, Name, 1, N, ?WINDOW),
    receive {done, N} -> ok end,
    erlang:monotonic_time(nanosecond) - Start.

send_all(_, _, I, N, _) when I > N -> ok;
send_all(Receiver, Name, I, N, 0) ->
    receive more -> send_all(Receiver, Name, I, N, ?WINDOW div 2) end;
send_all(Receiver, Name, I, N, Room) ->
    Receiver ! #{id => I, name => Name, tags => [1, 2, 3]},
    send_all(Receiver, Name, I + 1, N, Room - 1).

receive_all(Sender, N, N) -> Sender ! {done, N};
receive_all(Sender, N, Got) ->
    receive
        #{id := _, name := _, tags := _} ->
            case (Got + 1) rem (?WINDOW div 2) of
                0 -> Sender ! more;
                _ -> ok
            end,
            receive_all(Sender, N, Got + 1)
    end.
